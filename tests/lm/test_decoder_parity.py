"""The decoder against transformers, with itself one token at a time, and sampler against trainer."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import gemma_reference as ref
from support.runs import full_logits

from boostlm.lm.decoder import Decoder, decoder_lm
from boostlm.lm.generate import generate
from boostlm.lm.language_model import NO_PREFIX, Caches, DecodeRows
from boostlm.lm.token_sampling import SamplingParams
from boostlm.prng import row_keys

# `import transformers` and what it imports warn of their own deprecations.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
]

FAMILIES = ("gemma2", "gemma3")
BOS = 2


def random_tokens(rows: int, length: int) -> np.ndarray:
    tokens = np.random.default_rng(length).integers(4, ref.VOCAB, (rows, length))
    tokens[:, 0] = BOS
    return tokens.astype(np.int32)


def ours(config, params, tokens) -> np.ndarray:
    """Logits; the dtype is read here, since within `all_float64` jnp.float32 is float64."""
    model = decoder_lm(config, ref.VOCAB, dtype=jnp.float32)
    return np.asarray(jax.jit(full_logits(model))(params, tokens))


@functools.cache
def tiny(family):
    """(config, transformers model, params)"""
    config, model = ref.TINY[family], ref.transformers_model(family)
    return config, model, ref.params_of(model, config)


@pytest.mark.parametrize("length", [1, 24, 25, 511])  # the window is 24
@pytest.mark.parametrize("family", FAMILIES)
def test_logits_are_those_of_transformers(family, length):
    config, model, params = tiny(family)
    tokens = random_tokens(2, length)
    want = ref.transformers_logits(model, tokens)
    assert np.ptp(want) > 1  # logits that could differ
    assert np.abs(ours(config, params, tokens) - want).max() < 1e-4


@pytest.mark.parametrize("family", FAMILIES)
def test_the_function_is_that_of_transformers(family):
    """In float64 nothing but float64's rounding is left between the two."""
    with ref.all_float64():
        config, model = ref.TINY[family], ref.transformers_model(family)
        tokens = random_tokens(2, 60)
        want = ref.transformers_logits(model, tokens)
        got = ours(config, ref.params_of(model, config), tokens)
    assert got.dtype == want.dtype == np.float64
    assert np.abs(got - want).max() < 1e-11


ABLATIONS = {
    "attention_cap": ("gemma2", {"attention_cap": 0.0}),
    "logit_cap": ("gemma2", {"logit_cap": 0.0}),
    "gemma2_window": ("gemma2", {"window": 10_000}),
    "gemma3_window": ("gemma3", {"window": 10_000}),
    "window_off_by_one": ("gemma3", {"window": 25}),
    "gemma2_pattern": ("gemma2", {"global_every": 3}),
    "gemma3_pattern": ("gemma3", {"global_every": 2}),
    "qk_norm": ("gemma3", {"qk_norm": False}),
    "gemma2_post_norms": ("gemma2", {"post_norms": False}),
    "gemma3_post_norms": ("gemma3", {"post_norms": False}),
    "global_rope_base": ("gemma3", {"rope_base": 10_000.0}),
    "local_rope_base": ("gemma3", {"local_rope_base": 1_000_000.0}),
    "query_divisor": ("gemma2", {"query_divisor": 0}),
}


@pytest.mark.parametrize("name", ABLATIONS)
def test_every_feature_shows(name):
    """Parity would fail without the feature: the logits are off by more than ten tolerances."""
    family, change = ABLATIONS[name]
    config, model, params = tiny(family)
    tokens = random_tokens(1, 60)
    without = ours(dataclasses.replace(config, **change), params, tokens)
    assert np.abs(without - ref.transformers_logits(model, tokens)).max() > 1e-3


@pytest.mark.parametrize("family", FAMILIES)
def test_embedding_scale_and_bos_show(family, monkeypatch):
    config, model, params = tiny(family)
    tokens = random_tokens(1, 60)
    want = ref.transformers_logits(model, tokens)[:, -1]
    assert np.abs(ours(config, params, tokens[:, 1:])[:, -1] - want).max() > 1e-3
    monkeypatch.setattr(Decoder, "embed", lambda self, tokens: self.embedding(tokens))
    assert np.abs(ours(config, params, tokens)[:, -1] - want).max() > 1e-3


def random_params(config):
    """Parameters that show every feature, without transformers."""
    shapes = jax.eval_shape(decoder_lm(config, ref.VOCAB).init, jax.random.key(0))
    leaves, tree = jax.tree.flatten(shapes)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    arrays = [jax.random.normal(k, x.shape) * 0.2 for k, x in zip(keys, leaves, strict=True)]
    return jax.tree.unflatten(tree, arrays)


def forward_ragged(lm, params, rows) -> np.ndarray:
    """Logits [rows, longest, V] of rows of any length, padded on the right."""
    padded = np.zeros((len(rows), max(map(len, rows))), np.int32)
    for out, row in zip(padded, rows, strict=True):
        out[: len(row)] = row
    return np.asarray(jax.jit(full_logits(lm))(params, padded))


@pytest.mark.parametrize("family", FAMILIES)
def test_prefill_and_decode_agree_with_the_full_forward(family):
    """For ragged prompts shorter and longer than the window (24), and responses past it."""
    config = ref.TINY[family]
    lm, params = decoder_lm(config, ref.VOCAB), random_params(config)
    length_B, K, R, P = np.array([3, 20, 41], np.int32), 2, 40, 41
    tokens = random_tokens(len(length_B) * K, P + R).reshape(len(length_B), K, P + R)
    tokens[:, 1:, :P] = tokens[:, :1, :P]
    prefix = lm.read_prefix(params, NO_PREFIX)
    logits, cache = jax.jit(lm.prefill)(params, tokens[:, 0, :P], length_B, prefix)
    rows = [
        np.concatenate([tokens[b, k, :n], tokens[b, k, P:]])
        for b, n in enumerate(length_B)
        for k in range(K)
    ]
    full = forward_ragged(lm, params, rows)
    for b, n in enumerate(length_B):
        assert np.abs(logits[b] - full[b * K][n - 1]).max() < 1e-4
    A, decode, worst = len(rows), jax.jit(lm.decode), 0.0
    own, row_SxK = lm.response_cache(A, R), np.arange(A).reshape(-1, K)
    for step in range(R):
        at = DecodeRows(
            index_A=np.full(A, step), clock=np.int32(step), prompt_A=np.arange(A) // K,
            place_A=np.arange(A) % K, row_SxK=row_SxK, length_S=length_B,
        )  # fmt: skip
        token_A = tokens[:, :, P + step].reshape(A)
        logits, own = decode(params, token_A, at, Caches(prefix, cache, own))
        for row, n in enumerate(length_B.repeat(K)):
            worst = max(worst, np.abs(logits[row] - full[row][n + step]).max())
    assert worst < 1e-4


@pytest.mark.parametrize("family", FAMILIES)
def test_sampler_and_trainer_agree_on_log_probabilities(family):
    config = ref.TINY[family]
    lm, params = decoder_lm(config, ref.VOCAB), random_params(config)
    B, K, P, R = 2, 3, 30, 30
    prompts, length_B = random_tokens(B, P), np.array([7, 30], np.int32)
    key = row_keys(jax.random.key(5), jnp.arange(B), K)
    sample = functools.partial(
        generate, lm, max_new_tokens=R, stop_sequences=((1,),), pad_id=0, sampling=SamplingParams()
    )
    out = jax.jit(sample)(params, prompts, length_B, key)
    rows, places = [], []
    for b, n in enumerate(length_B):
        for k in range(K):
            count = int(out.length_BxK[b, k])
            rows.append(np.concatenate([prompts[b, :n], out.tokens_BxKxR[b, k, :count]]))
            places.append((np.arange(n - 1, n - 1 + count), out.logprob_BxKxR[b, k, :count]))
    factors = []
    for row, logits, (place, sampler) in zip(
        rows, forward_ragged(lm, params, rows), places, strict=True
    ):
        trainer = np.asarray(jax.nn.log_softmax(logits))[place, row[place + 1]]
        factors.append(np.exp(np.abs(trainer - sampler)))
    factors = np.concatenate(factors)
    assert len(factors) > 60
    assert factors.mean() < 1.0001
