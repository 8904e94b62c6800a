"""A model that is split over devices samples the tokens that one device does."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec
from support.compilations import counting_compilations
from support.split import CONFIG, MESHES, PARAMS, V, mesh_named

from boostlm import SamplingParams, decoder_lm
from boostlm.engine.prompt_table import PromptTable
from boostlm.engine.sampler import Sampler, slots_sharding
from boostlm.engine.slot_layout import SampleGroups
from boostlm.lm.token_sampling import draw_token

pytestmark = pytest.mark.slow

N, K, P, R = 9, 3, 20, 8
SAMPLE, RESTRICTED = SamplingParams(), SamplingParams(0.8, 10, 0.9)
GROUPS = SampleGroups(np.arange(N), np.broadcast_to(np.arange(K), (N, K)))


@functools.cache
def prompts():
    rng = np.random.default_rng(0)
    length_N = rng.integers(1, P + 1, N).astype(np.int32)
    tokens = np.where(np.arange(P) < length_N[:, None], rng.integers(4, V, (N, P)), 0)
    prefix_P0 = rng.integers(4, V, 5).astype(np.int32)
    return PromptTable(prefix_P0, tokens.astype(np.int32), length_N)


@functools.cache
def sampler(mesh, dtype="float32"):
    on = mesh_named(mesh)
    model = decoder_lm(CONFIG, V, jnp.dtype(dtype), mesh=on)
    return Sampler(model, ((1,), (2,), (3,)), R, 12, on)


def sampled(mesh, sampling=SAMPLE, dtype="float32"):
    one = sampler(mesh, dtype)
    return one.sample(one.ready(PARAMS), prompts(), GROUPS, jax.random.key(3), sampling)[0]


@functools.cache
def on_one_device(sampling=SAMPLE, dtype="float32"):
    return sampled("1x1", sampling, dtype)


@pytest.mark.parametrize("mesh", MESHES)
def test_tokens_are_those_of_one_device(mesh):
    got, want = sampled(mesh), on_one_device()
    np.testing.assert_array_equal(got.tokens_BxKxR, want.tokens_BxKxR)
    np.testing.assert_array_equal(got.finished_BxK, want.finished_BxK)
    np.testing.assert_allclose(got.logprob_BxKxR, want.logprob_BxKxR, atol=1e-5)
    assert 2 < want.length_BxK.mean() < R
    assert not want.finished_BxK.all()


def test_in_bfloat16_first_tokens_and_their_probabilities_are_near():
    got, want = sampled("2x4", dtype="bfloat16"), on_one_device(dtype="bfloat16")
    same = got.tokens_BxKxR[..., 0] == want.tokens_BxKxR[..., 0]
    assert same.mean() > 0.9
    near = np.abs(got.logprob_BxKxR - want.logprob_BxKxR)[..., 0][same]
    assert near.max() < 0.2


@pytest.mark.parametrize("sampling", [SAMPLE, RESTRICTED, SamplingParams(0.0)])
@pytest.mark.parametrize("vocabulary", [64, 4 * 700])  # blocks of 512 do not divide 700
def test_tokens_are_drawn_from_logits_that_stay_split(sampling, vocabulary):
    mesh, A = mesh_named("2x4"), 6
    rng = np.random.default_rng(1)
    logits = jnp.asarray(3 * rng.standard_normal((2, A, vocabulary)), jnp.float32)
    keys = jax.random.split(jax.random.key(0), (2, A))
    draw = functools.partial(draw_token, sampling=sampling)
    data, parts = PartitionSpec("data"), PartitionSpec("data", None, "model")

    def on_each(keys, logits):
        return jax.tree.map(lambda x: x[None], draw(keys[0], logits[0]))

    split = jax.shard_map(
        on_each, mesh=mesh, in_specs=data, out_specs=data, axis_names={"data"}, check_vma=False
    )
    at = NamedSharding(mesh, parts)
    program = jax.jit(split).lower(
        keys, jax.ShapeDtypeStruct(logits.shape, jnp.float32, sharding=at)
    )
    text = program.compile().as_text()
    sent = [line for line in text.splitlines() if " all-gather(" in line or " all-to-all(" in line]
    assert not [line for line in sent if f",{vocabulary}]" in line.split(" all-")[0]]
    token, logprob = jax.jit(split)(keys, jax.device_put(logits, at))
    want_token, want_logprob = jax.vmap(draw)(keys, logits)
    np.testing.assert_array_equal(token, want_token)
    np.testing.assert_allclose(logprob, want_logprob, atol=1e-5)


def test_caches_are_split_by_heads_and_each_program_is_compiled_once():
    """2 key-value heads on 4 devices are kept twice: one head on each."""
    one, sampling = sampler("2x4"), SamplingParams(0.7)
    with counting_compilations() as compiled:
        sampled("2x4", sampling)
        made = compiled.count("jit_decode"), compiled.count("jit_insert")
        sampled("2x4", sampling)
    assert made == (1, 2) == (compiled.count("jit_decode"), compiled.count("jit_insert"))
    slots = one.programs_of(sampling).empty(jax.random.key(0), A=6, S=4, K=3, P=32, D=2)
    for cache in jax.tree.leaves((slots.prompt_cache, slots.response_cache)):
        assert cache.addressable_shards[0].data.size == cache.size // 8
    assert slots.prompt_cache[0][0].shape[2] == 4
    assert slots.prompt_cache[0][0].sharding == slots_sharding(one.mesh).prompt_cache
