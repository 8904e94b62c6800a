"""Filter, mix and draw."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from boostlm import draw, failing, mix, noisy_verdict
from boostlm.curation.diversity import distinct_fraction

KEY = jax.random.key(5)


def masks(seed=0, own=0.4, weak=0.3, shape=(50, 8), labels=64):
    rng = np.random.default_rng(seed)
    return jnp.asarray(rng.random(shape) < own), jnp.asarray(rng.random(labels) < weak)


def test_weights_are_alpha_over_weak_and_the_rest_over_synthetic():
    accepted, kept = masks()
    mixture = mix(accepted, kept, 1 / 3)
    s, d = int(accepted.sum()), int(kept.sum())
    np.testing.assert_allclose(mixture.synthetic_NxK, np.where(accepted, 2 / 3 / s, 0), rtol=1e-6)
    np.testing.assert_allclose(mixture.weak_L, np.where(kept, 1 / 3 / d, 0), rtol=1e-6)
    assert (int(mixture.synthetic), int(mixture.weak)) == (s, d)


@pytest.mark.parametrize(
    ("own", "weak", "own_sum", "weak_sum"), [(0, 0.5, 0, 1), (0.5, 0, 1, 0), (0, 0, 0, 0)]
)
def test_an_empty_side_gives_its_weight_to_the_other(own, weak, own_sum, weak_sum):
    mixture = mix(*masks(own=own, weak=weak), 1 / 3)
    assert float(mixture.synthetic_NxK.sum()) == pytest.approx(own_sum, abs=1e-5)
    assert float(mixture.weak_L.sum()) == pytest.approx(weak_sum, abs=1e-5)


def test_failing_prompts_have_no_accepted_response():
    accepted, _ = masks(own=0.1)
    np.testing.assert_array_equal(failing(accepted), np.asarray(accepted).sum(axis=1) == 0)


def test_noisy_verdict_has_its_two_rates():
    correct = jnp.arange(200_000) % 2 == 0
    accepted = np.asarray(noisy_verdict(KEY, correct, 0.1, 0.03))
    assert accepted[::2].mean() == pytest.approx(0.9, abs=0.004)
    assert accepted[1::2].mean() == pytest.approx(0.03, abs=0.003)


def test_a_filter_without_error_is_the_verdict():
    correct = jnp.arange(1000) % 3 == 0
    np.testing.assert_array_equal(noisy_verdict(KEY, correct, 0.0, 0.0), correct)


@pytest.mark.slow
def test_draws_follow_the_weights_floor_or_ceil():
    accepted, kept = masks()
    mixture = mix(accepted, kept, 1 / 3)
    rows = 5000
    index, valid = draw(KEY, mixture, rows)
    assert bool(valid.all())
    drawn = np.bincount(np.asarray(index), minlength=50 * 8 + 64)
    share = rows * np.concatenate([np.ravel(mixture.synthetic_NxK), mixture.weak_L])
    assert (np.abs(drawn - share) < 1.01).all()
    assert drawn[400:].sum() == pytest.approx(rows / 3, abs=40)


@pytest.mark.slow
def test_draw_shuffles():
    mixture = mix(*masks(), 1 / 3)
    index = np.asarray(draw(KEY, mixture, 2000)[0])
    assert (np.diff(index) < 0).mean() > 0.4


@pytest.mark.slow
def test_nothing_is_drawn_from_an_empty_mixture():
    mixture = mix(*masks(own=0, weak=0), 1 / 3)
    assert not np.asarray(draw(KEY, mixture, 16)[1]).any()


def test_distinct_fraction_counts_different_responses():
    tokens = jnp.array([[[1, 0], [1, 0], [2, 0], [2, 3]], [[5, 5]] * 4])
    np.testing.assert_allclose(distinct_fraction(tokens), [3 / 4, 1 / 4])
