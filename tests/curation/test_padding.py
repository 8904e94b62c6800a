"""Prompts that are padded to divide over devices: padding never fails, is labeled, drawn or counted."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P
from support.runs import bits

from boostlm import (
    ARMS,
    Curation,
    Labels,
    RoundFns,
    curation_round,
    draw,
    initial_state,
    theta_from_beta,
)
from boostlm.curation.mixture import Mixture
from boostlm.curation.policies import switches_of
from boostlm.curation.round import TrainingSet, curate, plan_labels
from boostlm.lm.sharding import device_mesh

N, K, L, ROUNDS = 13, 3, 10, 3
CURATION = Curation(theta_from_beta(0.3), L, 1 / 3)


def rounds(arm, places, put, of_padding):
    """States, requests, mixtures and drawn rows of some rounds, without their padding."""
    accepted_RxNxK = np.random.default_rng(1).random((ROUNDS, places, K)) < 0.3
    accepted_RxNxK[:, N:] = of_padding
    accepted_RxNxK[:, :N] = np.random.default_rng(2).random((ROUNDS, N, K)) < 0.3
    kept_L = np.random.default_rng(3).random(L) < 0.5
    made = []

    def label(request, r):
        made.append(request)
        return Labels(None, request.valid_L & kept_L)

    def train(learner, responses, labels, mixture, r):
        index_C, valid_C = draw(jax.random.key(r), mixture, 32)
        own = mixture.synthetic_NxK.size
        assert not np.any(mixture.synthetic_NxK[N:])
        assert np.all((index_C < N * K) | (index_C >= own))
        index_C = jnp.where(index_C < own, index_C, index_C - own + N * K)
        made.append((mixture._replace(synthetic_NxK=mixture.synthetic_NxK[:N]), index_C, valid_C))
        return learner

    fns = RoundFns(lambda learner, r: None, lambda _, r: put(accepted_RxNxK[r]), label, train)
    state = initial_state(0, N, places)
    state = state._replace(log_weight_N=put(state.log_weight_N), failures_N=put(state.failures_N))
    for r in range(ROUNDS):
        state = curation_round(state, fns, ARMS[arm], CURATION, jax.random.key(10 + r), r)
        assert np.all(np.asarray(state.log_weight_N[N:]) == -np.inf)
        assert not np.any(state.failures_N[N:])
        assert state.valid_N.tolist() == [True] * N + [False] * (places - N)
        made.append(jax.tree.map(lambda x: x[:N] if np.shape(x) == (places,) else x, state))
    return bits(made)


@functools.cache
def without_padding(arm):
    return rounds(arm, N, jnp.asarray, False)


@pytest.mark.parametrize("arm", ARMS)
@pytest.mark.parametrize("of_padding", [False, True])
@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_padding_changes_nothing(devices, arm, count, of_padding):
    """Bit for bit, on any number of devices, whatever the verdicts on padding are."""
    by_prompt = NamedSharding(device_mesh(devices[:count]), P("data"))
    places = -(-N // count) * count + (count == 1)
    made = rounds(arm, places, lambda x: jax.device_put(x, by_prompt), of_padding)
    assert made == without_padding(arm)


def test_what_is_over_prompts_stays_split(devices):
    by_prompt = NamedSharding(device_mesh(devices), P("data"))
    seen = {}
    fns = RoundFns(
        sample=lambda learner, r: None,
        judge=lambda _, r: jax.device_put(np.arange(16 * K).reshape(16, K) % 5 == 0, by_prompt),
        label=lambda request, r: Labels(None, request.valid_L),
        train=lambda learner, responses, labels, mixture, r: seen.update(mixture=mixture),
    )
    state = initial_state(None, N, 16)
    state = state._replace(
        log_weight_N=jax.device_put(state.log_weight_N, by_prompt),
        failures_N=jax.device_put(state.failures_N, by_prompt),
    )
    state = curation_round(state, fns, ARMS["boosting"], CURATION, jax.random.key(0), 0)
    for x in (state.log_weight_N, state.failures_N, seen["mixture"].synthetic_NxK):
        assert len(x.sharding.device_set) == 8
        assert {shard.data.shape[0] for shard in x.addressable_shards} == {2}


def test_no_device_makes_a_whole_array_over_prompts(devices):
    """Neither an argument or result nor anything between: counts are summed up in parts."""
    many = 8 * 1009  # no other size occurs
    by_prompt = NamedSharding(device_mesh(devices), P("data"))
    log_weight_N, failures_N, accepted_NxK, own_NxK = (
        jax.ShapeDtypeStruct(shape, dtype, sharding=by_prompt)
        for shape, dtype in (
            ((many,), jnp.float32),
            ((many,), jnp.int32),
            ((many, K), jnp.bool_),
            ((many, K), jnp.float32),
        )
    )
    key, kept_L = jax.random.key(0), np.ones(L, bool)
    arm = switches_of(ARMS["boosting"])
    examples = TrainingSet(None, accepted_NxK, Labels(None, kept_L), np.zeros(L, np.int32))
    mixture = Mixture(own_NxK, np.ones(L, np.float32), np.int32(0), np.int32(0))
    for lowered in (
        plan_labels.lower(key, arm, log_weight_N, failures_N, accepted_NxK, 0.3, L, 0, places=L),
        curate.lower(arm, examples, log_weight_N, 0.3),
        draw.lower(key, mixture, 32),
    ):
        program = lowered.compile().as_text()
        assert f"[{many // 8}" in program
        for whole in (many, many * K, many * K + L):
            assert not re.search(rf"\[{whole}[\],]", program)
