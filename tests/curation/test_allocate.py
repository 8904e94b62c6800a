"""Difficulty weights, label allocation and compaction: exact, and alike on any device count."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from boostlm import allocate, expand, initial_log_weights, reweight, theta_from_beta
from boostlm.numerics import fixed_point_sum, largest_uint32, to_fixed_point

allocate_jit = jax.jit(allocate)
KEY = jax.random.key(7)


def random_case(rng: np.random.Generator):
    """Weights over many magnitudes, some prompts not eligible, a budget of any size."""
    n = 240
    weight = np.exp(rng.normal(0, 2, n)).astype(np.float32)
    eligible = rng.random(n) < rng.choice([0.02, 0.5, 1.0])
    budget = int(rng.choice([0, 1, 7, 100, 239, 5000, 3_000_000]))
    return weight, eligible, budget


@pytest.mark.parametrize("case", range(40))
def test_budget_is_spent_exactly_and_only_on_eligible_prompts(case):
    weight, eligible, budget = random_case(np.random.default_rng(case))
    count = np.asarray(allocate_jit(jax.random.key(case), budget, weight, eligible))
    assert count.sum() == (budget if eligible.any() else 0)
    assert (count >= 0).all()
    assert not count[~eligible].any()


@pytest.mark.parametrize("case", range(20))
def test_every_prompt_gets_its_share_rounded_down_or_up(case):
    weight, eligible, budget = random_case(np.random.default_rng(100 + case))
    if not eligible.any():
        eligible[:] = True
    count = np.asarray(allocate_jit(jax.random.key(case), budget, weight, eligible))
    # The contract rounds weights to 2**-16 of the largest, so the shares are of the rounded ones.
    fixed = np.maximum(np.round(np.where(eligible, weight, 0) / weight[eligible].max() * 2**16), 1)
    share = budget * np.where(eligible, fixed, 0) / np.where(eligible, fixed, 0).sum()
    slack = 1e-5 * share + 1e-3
    assert (count >= np.floor(share - slack)).all()
    assert (count <= np.ceil(share + slack)).all()


@pytest.mark.slow
def test_odd_labels_go_by_the_fractions_of_the_shares():
    weight = jnp.array([1.0, 2.0, 3.0, 4.0] * 50)  # shares 0.1 to 0.4 of 50 labels
    everyone = jnp.ones(200, bool)
    keys = jax.random.split(KEY, 2000)
    mean = jax.vmap(lambda k: allocate(k, 50, weight, everyone))(keys).mean(axis=0)
    np.testing.assert_allclose(mean, weight / 10, atol=0.05)


def test_equal_weights_below_one_each_give_zero_or_one():
    count = allocate_jit(KEY, 30, jnp.ones(100), jnp.ones(100, bool))
    assert set(np.unique(count)) == {0, 1}
    assert count.sum() == 30


def test_nobody_eligible_spends_nothing():
    assert not allocate_jit(KEY, 10, jnp.ones(5), jnp.zeros(5, bool)).any()


def test_one_prompt_takes_a_huge_budget_exactly():
    only = jnp.zeros(64, bool).at[3].set(True)
    count = allocate_jit(KEY, 2_000_000_001, jnp.ones(64), only)
    assert int(count[3]) == 2_000_000_001


def test_all_weights_zero_count_as_equal():
    count = allocate_jit(KEY, 64, jnp.zeros(64), jnp.ones(64, bool))
    assert (np.asarray(count) == 1).all()


def test_weight_doubles_labels_double():
    weight = jnp.where(jnp.arange(100) < 50, 2.0, 1.0)
    count = np.asarray(allocate_jit(KEY, 15_000, weight, jnp.ones(100, bool)))
    assert (count == np.where(np.arange(100) < 50, 200, 100)).all()


def test_reweight_after_f_failures_is_one_minus_beta_to_minus_f():
    beta, rng = 0.3, np.random.default_rng(0)
    failed = rng.random((6, 500)) < np.linspace(0.05, 0.95, 500)
    log_weight = initial_log_weights(500)
    for row in failed:
        log_weight = reweight(log_weight, jnp.asarray(row), theta_from_beta(beta))
    expected = (1 - beta) ** -failed.sum(axis=0).astype(float)
    np.testing.assert_allclose(np.exp(log_weight), expected / expected.sum(), rtol=1e-4)
    assert float(jnp.exp(log_weight).sum()) == pytest.approx(1, abs=1e-4)


def test_reweight_stays_finite_over_a_thousand_failures():
    log_weight, failing = initial_log_weights(4), jnp.array([True, False, False, False])
    step = jax.jit(reweight)
    for _ in range(1000):
        log_weight = step(log_weight, failing, theta_from_beta(0.5))
    assert np.isfinite(log_weight).all()
    assert float(jnp.exp(log_weight[0])) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("beta", [0.0, 1.0, -0.1])
def test_theta_refuses_impossible_rates(beta):
    with pytest.raises(ValueError, match="beta"):
        theta_from_beta(beta)


@pytest.mark.slow
def test_curation_is_the_same_bits_on_one_device_and_on_eight(mesh):
    rng = np.random.default_rng(3)
    n, budget = 4096, 1111
    failing = rng.random(n) < 0.4
    log_weight = np.log(rng.random(n)).astype(np.float32)

    @jax.jit
    def curate(key, log_weight, failing):
        log_weight = reweight(log_weight, failing, 0.35)
        count = allocate(key, budget, jnp.exp(log_weight), failing)
        return log_weight, count, expand(count, budget)

    one = curate(KEY, log_weight, failing)
    rows = NamedSharding(mesh, PartitionSpec("data"))
    eight = curate(KEY, jax.device_put(log_weight, rows), jax.device_put(failing, rows))
    assert len(eight[1].sharding.device_set) == 8
    jax.tree.map(np.testing.assert_array_equal, one, eight)


def test_fixed_point_sum_does_not_depend_on_order():
    x = np.random.default_rng(0).random(100_000).astype(np.float32)
    fixed = to_fixed_point(jnp.asarray(x))
    forward, backward = fixed_point_sum(fixed), fixed_point_sum(fixed[::-1])
    assert float(forward) == float(backward)
    assert float(forward) / 2**16 == pytest.approx(x.sum(dtype=np.float64), rel=1e-5)


def test_bit_search_finds_thresholds():
    for truth in (0, 1, 12345, 2**32 - 1):
        assert int(largest_uint32(lambda t, truth=truth: t <= jnp.uint32(truth))) == truth


@pytest.mark.parametrize("capacity", [1, 13, 40])
def test_expand_lists_indices_in_order(capacity):
    count = np.random.default_rng(1).integers(0, 4, 30)
    index, valid = expand(jnp.asarray(count, jnp.int32), capacity)
    expected = np.repeat(np.arange(30), count)[:capacity]
    np.testing.assert_array_equal(np.asarray(index)[np.asarray(valid)], expected)
    assert not np.asarray(index)[~np.asarray(valid)].any()


def test_expand_of_a_mask_is_nonzero():
    mask = np.random.default_rng(2).random(50) < 0.3
    index, valid = expand(jnp.asarray(mask, jnp.int32), 50)
    np.testing.assert_array_equal(np.asarray(index)[np.asarray(valid)], np.flatnonzero(mask))
