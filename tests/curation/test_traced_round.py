"""A round of pure functions is one itself: under jit, scanned over rounds, mapped over seeds."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.runs import bits

from boostlm import ARMS, Curation, RoundFns, curation_round, ideal_learner, initial_state
from boostlm.curation.mixture import noisy_verdict
from boostlm.curation.policies import switches_of

N, PLACES, K, ROUNDS = 13, 16, 4, 3
CURATION = Curation(theta=0.3, budget=6, alpha=0.4)
WORLD = ideal_learner.World(beta=0.4, miss_rate=0.1, false_accept_rate=0.05, filter_labels=True)


def start(key):
    """The ideal learner's table, with places for padding."""
    table_NxA = ideal_learner.initial_table(jax.random.uniform(key, (PLACES,)))
    return initial_state(ideal_learner.table_state(table_NxA).learner, N, PLACES)


def one_round(key, state, r):
    """(the state after a round, what is watched before it)"""
    keys = jax.random.split(jax.random.fold_in(key, r), 4)
    learner, table_NxA = state.learner, state.learner.chance_NxA
    fns = RoundFns(
        sample=lambda learner, r: ideal_learner.sample_table(keys[0], learner.chance_NxA, K),
        judge=lambda answer_NxK, r: noisy_verdict(keys[1], answer_NxK == 0, 0.1, 0.05),
        label=lambda request, r: ideal_learner.label_table(keys[2], request, table_NxA, WORLD),
        train=lambda learner, own_NxA, labels, mixture, r: ideal_learner.train_table(
            False, learner, own_NxA, labels, mixture
        ),
        recall=lambda examples, r: ideal_learner.recall_table(False, learner, examples),
    )
    after = curation_round(state, fns, switches_of(ARMS["boosting"]), CURATION, keys[3], r)
    return after, (jnp.mean(table_NxA[:N, 0]), state.failures_N)


@jax.jit
def all_rounds(key):
    return jax.lax.scan(lambda state, r: one_round(key, state, r), start(key), jnp.arange(ROUNDS))


def test_jit_scan_and_vmap_give_what_a_loop_over_rounds_and_seeds_gives():
    keys = jax.random.split(jax.random.key(0), 2)
    states, (accuracy, failures) = jax.vmap(all_rounds)(keys)
    assert accuracy.shape == (2, ROUNDS)
    for seed, key in enumerate(keys):
        state = start(key)
        for r in range(ROUNDS):
            assert float(accuracy[seed, r]) == pytest.approx(
                float(jnp.mean(state.learner.chance_NxA[:N, 0]))
            )
            np.testing.assert_array_equal(failures[seed, r], state.failures_N)
            state, _ = one_round(key, state, r)
        mine = jax.tree.map(lambda x, seed=seed: x[seed], states)
        np.testing.assert_allclose(mine.log_weight_N, state.log_weight_N, atol=1e-6)
        np.testing.assert_allclose(mine.learner.chance_NxA, state.learner.chance_NxA, atol=1e-6)
        assert bits(mine.failures_N) == bits(state.failures_N)
        assert (int(mine.labels_spent), int(mine.labels_kept)) == (
            int(state.labels_spent), int(state.labels_kept))  # fmt: skip
        assert 0 < int(mine.labels_kept) <= int(mine.labels_spent)
        assert not mine.failures_N[N:].any()
        np.testing.assert_array_equal(
            mine.learner.chance_NxA[N:], start(key).learner.chance_NxA[N:]
        )  # padding learns nothing
