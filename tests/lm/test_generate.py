"""Sampling: the cache is right, rows are independent, and token rules do what they say."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.runs import full_logits

from boostlm import LanguageModel, SamplingParams, decoder_lm, generate, row_keys
from boostlm.config import ModelConfig
from boostlm.lm.token_sampling import draw_token, restrict

V, P, R, K = 32, 9, 12, 3
EOS, PAD = 1, 0
MODEL = decoder_lm(
    ModelConfig(layers=2, width=32, heads=4, kv_heads=2, head_dim=8, mlp_width=64), V
)
FORWARD = jax.jit(full_logits(MODEL))
PARAMS = jax.jit(MODEL.init)(jax.random.key(0))
SAMPLE = SamplingParams(temperature=1.0)


def prompts(n=10, seed=0):
    rng = np.random.default_rng(seed)
    length = rng.integers(1, P + 1, n).astype(np.int32)
    tokens = rng.integers(4, V, (n, P)).astype(np.int32)
    return np.where(np.arange(P) < length[:, None], tokens, PAD).astype(np.int32), length


@functools.cache
def sampler(sampling=SAMPLE, model=MODEL):
    run = functools.partial(
        generate, model, max_new_tokens=R, stop_sequences=((EOS,),), pad_id=PAD, sampling=sampling
    )
    return jax.jit(run)


def keys_of(ids, k=K):
    return row_keys(jax.random.key(42), jnp.asarray(ids, jnp.int32), k)


def full_rows(tokens, length, responses):
    """Each response behind its prompt, without padding between: [B, K, P + R]."""
    rows = np.full((len(tokens), K, P + R), PAD, np.int32)
    for b, n in enumerate(length):
        rows[b, :, :n] = tokens[b, :n]
        rows[b, :, n : n + R] = responses[b]
    return rows


@pytest.mark.slow
def test_cached_decoding_equals_the_full_forward_pass():
    tokens, length = prompts()
    out = sampler()(PARAMS, tokens, length, keys_of(range(10)))
    rows = full_rows(tokens, length, np.asarray(out.tokens_BxKxR))
    logits = FORWARD(PARAMS, jnp.asarray(rows.reshape(-1, P + R)))
    logprob = np.asarray(jax.nn.log_softmax(logits)).reshape(10, K, P + R, V)
    checked = 0
    for b, n in enumerate(length):
        for k in range(K):
            for t in range(int(out.length_BxK[b, k])):
                expected = logprob[b, k, n + t - 1, out.tokens_BxKxR[b, k, t]]
                assert abs(expected - float(out.logprob_BxKxR[b, k, t])) < 1e-5
                checked += 1
    assert checked > 100


def test_decoder_is_causal_and_ignores_padding_on_the_right():
    rows = np.random.default_rng(0).integers(4, V, (4, 16)).astype(np.int32)
    changed = rows.copy()
    changed[:, 9:] = PAD
    before, after = FORWARD(PARAMS, rows), FORWARD(PARAMS, changed)
    np.testing.assert_allclose(before[:, :9], after[:, :9], atol=1e-6)
    assert np.abs(np.asarray(before[:, 9:] - after[:, 9:])).max() > 1e-2


@pytest.mark.slow
def test_greedy_is_the_argmax_of_the_full_forward_pass():
    tokens, length = prompts()
    out = sampler(SamplingParams(temperature=0.0))(PARAMS, tokens, length, keys_of(range(10)))
    rows = full_rows(tokens, length, np.asarray(out.tokens_BxKxR))
    best = np.asarray(FORWARD(PARAMS, jnp.asarray(rows[:, 0])).argmax(-1))
    for b, n in enumerate(length):
        steps = int(out.length_BxK[b, 0])
        np.testing.assert_array_equal(
            out.tokens_BxKxR[b, 0, :steps], best[b, n - 1 : n - 1 + steps]
        )


@pytest.mark.slow
def test_a_sample_depends_on_neither_batch_nor_order():
    tokens, length = prompts()
    whole = sampler()(PARAMS, tokens, length, keys_of(range(10)))
    order = np.array([7, 2, 9, 0])
    part = sampler()(PARAMS, tokens[order], length[order], keys_of(order))
    np.testing.assert_array_equal(whole.tokens_BxKxR[order], part.tokens_BxKxR)
    fewer = sampler()(PARAMS, tokens, length, keys_of(range(10), k=2))
    np.testing.assert_array_equal(whole.tokens_BxKxR[:, :2], fewer.tokens_BxKxR)


@pytest.mark.slow
def test_samples_and_rounds_differ():
    tokens, length = prompts()
    out = np.asarray(sampler()(PARAMS, tokens, length, keys_of(range(10))).tokens_BxKxR)
    assert (out[:, 0] != out[:, 1]).any(axis=-1).mean() > 0.9
    next_round = row_keys(jax.random.key(43), jnp.arange(10), K)
    again = np.asarray(sampler()(PARAMS, tokens, length, next_round).tokens_BxKxR)
    assert (out != again).any(axis=-1).mean() > 0.9


def stub(emit):
    """A model whose logits say `emit(number of the token in its response)`, and its decode calls."""
    calls = []

    def logits(step_A):
        return jax.nn.one_hot(emit(step_A), V) * 50.0

    def decode(params, token_A, rows, caches):
        jax.debug.callback(lambda s: calls.append(int(s)), rows.clock)
        return logits(rows.index_A + 1), ()

    model = LanguageModel(
        init=None,
        hidden=None,
        unembed=None,
        head=None,
        compact=None,
        read_prefix=lambda params, tokens: (),
        prefill=lambda params, tokens, n, prefix: (logits(jnp.zeros(len(tokens), jnp.int32)), ()),
        prompt_cache=lambda S, P: (),
        response_cache=lambda A, R: (),
        decode=decode,
    )
    return model, calls


def test_stops_at_eos_and_leaves_the_loop_early():
    model, calls = stub(lambda step: jnp.where(step == 3, EOS, 5))
    out = sampler(SAMPLE, model)({}, *prompts(4), keys_of(range(4)))
    jax.effects_barrier()
    assert (np.asarray(out.tokens_BxKxR)[..., :5] == [5, 5, 5, EOS, PAD]).all()
    assert (np.asarray(out.length_BxK) == 4).all()
    assert np.asarray(out.finished_BxK).all()
    assert (np.asarray(out.logprob_BxKxR)[..., 4:] == 0).all()
    assert sorted(calls) == [0, 1, 2]  # three more tokens after prefill's, not R - 1


def test_a_response_without_eos_is_marked_as_cut_off():
    model, _ = stub(lambda step: 5 + 0 * step)
    out = sampler(SAMPLE, model)({}, *prompts(4), keys_of(range(4)))
    assert not np.asarray(out.finished_BxK).any()
    assert (np.asarray(out.length_BxK) == R).all()


def test_eos_as_the_very_last_token_counts_as_finished():
    model, _ = stub(lambda step: jnp.where(step == R - 1, EOS, 5))
    out = sampler(SAMPLE, model)({}, *prompts(4), keys_of(range(4)))
    assert np.asarray(out.finished_BxK).all()
    assert (np.asarray(out.length_BxK) == R).all()


@pytest.mark.parametrize(
    ("stop_sequences", "length"),
    [(((7,),), 3), (((7,), (6,)), 2), (((6, 7),), 3), (((5, 7), (7, 8, 9)), 5), (((5, 5),), R)],
)
def test_any_of_several_sequences_ends_a_response(stop_sequences, length):
    model, _ = stub(lambda step: 5 + step)  # 5, 6, 7, ...
    sampling = SamplingParams(temperature=0.0)
    out = jax.jit(
        functools.partial(
            generate,
            model,
            max_new_tokens=R,
            stop_sequences=stop_sequences,
            pad_id=PAD,
            sampling=sampling,
        )
    )({}, *prompts(2), keys_of(range(2)))
    assert (np.asarray(out.length_BxK) == length).all()
    assert (np.asarray(out.finished_BxK) == (length < R)).all()
    assert (np.asarray(out.tokens_BxKxR)[..., :length] == 5 + np.arange(length)).all()
    assert (np.asarray(out.tokens_BxKxR)[..., length:] == PAD).all()


def kept_by_sorting(logits, sampling):
    """The textbook version, with a sort."""
    scaled = logits / sampling.temperature
    order = np.argsort(-scaled)
    keep = order[: sampling.top_k] if sampling.top_k else order
    if sampling.top_p == 1:
        return set(keep.tolist())
    prob = np.exp(scaled[keep] - scaled[keep].max())
    prob /= prob.sum()
    count = np.searchsorted(np.cumsum(prob), sampling.top_p - 1e-7) + 1
    return set(keep[:count].tolist())


@pytest.mark.parametrize("top_k", [0, 1, 5, V])
@pytest.mark.parametrize("top_p", [1.0, 0.9, 0.3])
@pytest.mark.parametrize(
    "temperature", [0.7, *(pytest.param(t, marks=pytest.mark.slow) for t in (1.0, 2.0))]
)
def test_top_k_and_top_p_keep_what_a_sort_would(top_k, top_p, temperature):
    sampling = SamplingParams(temperature, top_k, top_p)
    logits = np.random.default_rng(top_k).normal(0, 3, (20, V)).astype(np.float32)
    out = np.asarray(jax.jit(lambda x: restrict(x, sampling))(logits))
    for row, kept in zip(logits, np.isfinite(out), strict=True):
        assert set(np.flatnonzero(kept).tolist()) == kept_by_sorting(row, sampling)


@pytest.mark.slow
def test_temperature_shapes_the_distribution():
    tokens, length = np.full((400, P), 5, np.int32), np.full(400, 1, np.int32)
    for temperature in (0.5, 2.0):
        sampling = SamplingParams(temperature)
        out = sampler(sampling)(PARAMS, tokens, length, keys_of(range(400), k=8))
        seen = np.bincount(np.asarray(out.tokens_BxKxR)[..., 0].ravel(), minlength=V) / 3200
        logits = FORWARD(PARAMS, jnp.full((1, 1), 5))[0, 0]
        np.testing.assert_allclose(seen, jax.nn.softmax(logits / temperature), atol=0.035)


@pytest.mark.slow
@pytest.mark.parametrize("vocabulary", [5, 512, 1500])
def test_tokens_are_drawn_with_their_probabilities(vocabulary):
    """By the share of 20,000 draws, token by token; 1,500 tokens are three blocks, one not full."""
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, vocabulary).astype(np.float32)
    logits[rng.permutation(vocabulary)[: vocabulary // 3]] = -np.inf
    keys = jax.random.split(jax.random.key(0), 20_000)
    draw = jax.jit(jax.vmap(lambda k: draw_token(k[None], logits[None], SAMPLE)))
    token, logprob = (np.asarray(x)[:, 0] for x in draw(keys))
    want = np.asarray(jax.nn.softmax(logits))
    seen = np.bincount(token, minlength=vocabulary) / len(keys)
    assert seen[np.isneginf(logits)].max() == 0
    np.testing.assert_allclose(seen, want, atol=5 * np.sqrt(want.max() / len(keys)))
    chi2 = np.sum((seen - want)[want > 1e-4] ** 2 / want[want > 1e-4]) * len(keys)
    assert chi2 < (want > 1e-4).sum() + 5 * np.sqrt(2 * (want > 1e-4).sum())
    np.testing.assert_allclose(logprob, np.log(want[token]), atol=1e-4)


@pytest.mark.slow
def test_the_logprob_is_the_models_own_under_any_rule():
    logits = np.random.default_rng(0).normal(0, 2, (6, V)).astype(np.float32)
    keys = jax.random.split(jax.random.key(0), 6)
    for sampling in (
        SamplingParams(0.0),
        SamplingParams(0.5),
        SamplingParams(1.0, top_k=3),
        SamplingParams(2.0, top_p=0.5),
    ):
        token, logprob = draw_token(keys, jnp.asarray(logits), sampling)
        want = np.asarray(jax.nn.log_softmax(logits))[np.arange(6), token]
        np.testing.assert_allclose(logprob, want, atol=1e-5)
