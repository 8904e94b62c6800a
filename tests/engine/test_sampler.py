"""Slots, widths and devices: a response is the same wherever and beside whatever it is sampled."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.runs import full_logits

from boostlm import Responses, SamplingParams, decoder_lm, generate, row_keys
from boostlm.config import ModelConfig
from boostlm.engine import sampler as sampler_module
from boostlm.engine.prompt_table import PromptTable, common_prefix
from boostlm.engine.sampler import Sampler
from boostlm.engine.slot_layout import SampleGroups, group_pairs, layout_of_pairs, width_of
from boostlm.lm.generate import decode_step
from boostlm.lm.sharding import device_mesh

pytestmark = pytest.mark.slow

V, N, P0, P, R, K = 32, 13, 5, 40, 12, 3
EOS, PAD = 1, 0
CONFIG = ModelConfig(
    layers=2, width=32, heads=4, kv_heads=2, head_dim=8, mlp_width=64, global_every=2, window=10
)
MODEL, MODEL_16 = decoder_lm(CONFIG, V), decoder_lm(CONFIG, V, jnp.bfloat16)
PARAMS = jax.tree.map(lambda x: 2 * x, jax.jit(MODEL.init)(jax.random.key(0)))  # livelier
SAMPLE = SamplingParams()
ENDINGS = ((EOS,), (2,), (3,), (5,), (7,), (8, 9))
KEY = jax.random.key(3)


def table(n=N):
    rng = np.random.default_rng(0)
    length_N = rng.integers(1, P + 1, N).astype(np.int32)
    length_N[:4] = (1, 16, 17, P)
    tokens = np.where(np.arange(P) < length_N[:, None], rng.integers(4, V, (N, P)), PAD)
    prefix = rng.integers(4, V, P0).astype(np.int32)
    return PromptTable(prefix, tokens.astype(np.int32)[:n], length_N[:n])


def whole(prompts):
    """The same prompts with the prefix in each of them: tokens [N, P0 + P], lengths."""
    ahead = np.broadcast_to(prompts.prefix_P0, (len(prompts.length_N), P0))
    return np.concatenate([ahead, prompts.tokens_NxP], axis=1), P0 + prompts.length_N


@functools.cache
def all_at_once():
    tokens, length = whole(table())
    run = functools.partial(
        generate, MODEL, max_new_tokens=R, stop_sequences=ENDINGS, pad_id=PAD, sampling=SAMPLE
    )
    out = jax.jit(run)(PARAMS, tokens, length, row_keys(KEY, jnp.arange(N), K))
    return jax.tree.map(np.asarray, out)


def groups(n=N, k=K):
    return SampleGroups(np.arange(n), np.broadcast_to(np.arange(k), (n, k)))


def sampler(rows, count=1, model=MODEL):
    return _compiled(rows, count, model)


@functools.cache
def _compiled(rows, count, model):
    return Sampler(model, ENDINGS, R, rows, device_mesh(jax.devices()[:count]))


def assert_same(got: Responses, want: Responses):
    np.testing.assert_array_equal(got.tokens_BxKxR, want.tokens_BxKxR)
    np.testing.assert_array_equal(got.length_BxK, want.length_BxK)
    np.testing.assert_array_equal(got.finished_BxK, want.finished_BxK)
    np.testing.assert_allclose(got.logprob_BxKxR, want.logprob_BxKxR, atol=1e-5)


@pytest.mark.parametrize(("rows", "count"), [(12, 1), (1000, 1), (24, 8)])
def test_slots_and_devices_change_nothing(rows, count):
    """Rows are refilled (or are not), at every age of their neighbours, on 1 device and on 8."""
    want = all_at_once()
    lengths = np.unique(want.length_BxK)
    assert len(lengths) > 4  # of many ages
    assert 0.2 < want.finished_BxK.mean() < 1
    out, _ = sampler(rows, count).sample(PARAMS, table(), groups(), KEY, SAMPLE)
    assert_same(out, want)


@pytest.mark.parametrize(
    ("model", "tolerance"), [(MODEL, 1e-5), (MODEL_16, 0.5)], ids=["f32", "bf16"]
)
def test_log_probabilities_are_those_of_the_full_forward_pass(model, tolerance):
    """Of refilled rows too, whose caches go round; the prefix and the window count."""
    out, _ = sampler(12, 1, model).sample(PARAMS, table(), groups(), KEY, SAMPLE)
    (tokens, length), rows = whole(table()), np.zeros((N, K, P0 + P + R), np.int32)
    for n in range(N):
        rows[n, :, : length[n]] = tokens[n, : length[n]]
        rows[n, :, length[n] : length[n] + R] = out.tokens_BxKxR[n]
    logits = jax.jit(full_logits(model))(PARAMS, rows.reshape(N * K, -1))
    logprob = np.asarray(jax.nn.log_softmax(logits)).reshape(N, K, -1, V)
    for n, k in np.ndindex(N, K):
        count = out.length_BxK[n, k]
        at = np.arange(count) + length[n] - 1
        want = logprob[n, k, at, out.tokens_BxKxR[n, k, :count]]
        np.testing.assert_allclose(out.logprob_BxKxR[n, k, :count], want, atol=tolerance)


def test_pairs_are_the_samples_that_they_name():
    rng = np.random.default_rng(0)
    prompt, sample = rng.integers(0, N, 40), rng.integers(0, K, 40)
    prompt[:11] = 4  # more often than a group holds
    pairs, (m, k) = group_pairs(prompt, sample)
    assert pairs.sample_MxK.shape[1] == 8
    assert (pairs.prompt_M[m] == prompt).all()
    assert (pairs.sample_MxK[m, k] == sample).all()
    assert (pairs.sample_MxK >= 0).sum() == 40
    out, _ = sampler(24).sample(PARAMS, table(), pairs, KEY, SAMPLE, layout=layout_of_pairs(24, 8))
    got = jax.tree.map(lambda x: x[m, k], out)
    assert_same(got, jax.tree.map(lambda x: x[prompt, sample], all_at_once()))
    assert (out.length_BxK[pairs.sample_MxK < 0] == 0).all()


@pytest.fixture(scope="module")
def counting():
    """Of 8 rows: groups and layout -> (what was sampled, how many steps of decoding that took)."""
    steps = []

    def counted(*args):
        jax.debug.callback(lambda: steps.append(1))
        return decode_step(*args)

    eight = Sampler(MODEL, ENDINGS, R, 8, device_mesh(jax.devices()[:1]))

    def sample(pairs, layout=None):
        steps.clear()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sampler_module.decode_slots, "decode_step", counted)
            out, _ = eight.sample(PARAMS, table(), pairs, KEY, SAMPLE, layout=layout)
        jax.effects_barrier()
        return out, len(steps)

    return sample


def test_uneven_label_counts_keep_the_rows_at_work(counting):
    prompt = np.repeat(np.arange(N), [8] + [2] * (N - 1))
    pairs, _ = group_pairs(prompt, np.arange(len(prompt)))
    out, steps = counting(pairs, layout_of_pairs(8, 1))
    full = np.maximum(out.length_BxK - 1, 0).sum() / 8
    assert full <= steps < 1.3 * full + R


def test_a_few_widths_are_compiled_and_none_after_them(monkeypatch):
    """Prompts of any number and length; what counts is the trace of the model's functions."""
    traced = []

    def counting(name):
        inner = getattr(MODEL, name)

        def call(params, tokens, *rest):
            traced.append((name, tokens.shape))
            return inner(params, tokens, *rest)

        return call

    model = MODEL._replace(prefill=counting("prefill"), decode=counting("decode"))
    few = Sampler(model, ((EOS,),), R, 6, device_mesh(jax.devices()[:1]))
    few.sample(PARAMS, table(), groups(k=2), KEY, SAMPLE)
    widths = {shape[1] for name, shape in traced if name == "prefill"}
    assert widths == {16, 32, 64} == {width_of(n) for n in table().length_N}
    assert len([shape for name, shape in traced if name == "decode"]) == 1
    before = len(traced)
    for n in (4, 7, 12):  # other numbers of other lengths
        few.sample(PARAMS, table(n), groups(n, 2), KEY, SAMPLE)
    assert len(traced) == before


def test_a_row_that_ends_makes_room_at_once(counting):
    """Steps of decoding are near what the tokens take on full rows, far from waiting in batches."""
    many = SampleGroups(np.arange(N).repeat(8), np.arange(8 * N).reshape(-1, 1))
    out, steps = counting(many)
    decoded = out.length_BxK - 1  # the first token is prefill's
    full = decoded.sum() / 8
    waiting = sum(np.max(decoded[i : i + 8]) for i in range(0, len(decoded), 8))
    assert full <= steps < 1.2 * full + R
    assert steps < 0.8 * waiting


def test_progress_counts_groups():
    seen = []
    sampler(12).sample(PARAMS, table(), groups(), KEY, SAMPLE, lambda *at: seen.append(at))
    done = [d for d, _ in seen]
    assert done == sorted(done)
    assert len(set(done)) > 2
    assert seen[-1] == (N, N)


def test_common_prefix_leaves_a_token_of_each():
    assert common_prefix([[2, 5, 6], [2, 5, 7], [2, 5, 6, 8]]) == 2
    assert common_prefix([[2, 5], [2, 5, 7]]) == 1
    assert common_prefix([[2, 5, 9]]) == 2
    assert common_prefix([[3, 5], [2, 5]]) == 0
