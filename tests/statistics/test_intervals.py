"""Intervals over seeds and prompts: by hand, at the edges, and by simulation."""

import itertools

import numpy as np
import pytest
from scipy import stats

from boostlm.statistics.intervals import crossed_interval

RUNS = 1000


def differences(rng, seeds, prompts, seed_effect, prompt_effect, difference, runs=RUNS):
    """Differences of two models' verdicts, [runs, seeds, prompts]; effects are deviations."""
    p = rng.uniform(0.05, 0.95, (runs, 1, prompts))
    effect = difference + rng.normal(0, seed_effect, (runs, seeds, 1))
    effect = (effect + rng.normal(0, prompt_effect, (runs, 1, prompts))) / 2
    draws = rng.random((2, runs, seeds, prompts))
    return (draws[0] < p + effect).astype(float) - (draws[1] < p - effect)


def true_difference(rng, seed_effect, prompt_effect, difference):
    """What a run of many seeds and prompts would show; chances are cut off at 0 and 1."""
    shape = 2_000_000
    p, sd = rng.uniform(0.05, 0.95, shape), np.hypot(seed_effect, prompt_effect)
    effect = rng.normal(difference, max(sd, 1e-12), shape) / 2
    return float(np.mean(np.clip(p + effect, 0, 1) - np.clip(p - effect, 0, 1)))


WORLDS = list(itertools.product((0.0, 0.055), (0.0, 0.3), (0.0, 0.08)))


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [3, 5, 10])
@pytest.mark.parametrize(("seed_effect", "prompt_effect", "difference"), WORLDS)
def test_95_of_100_intervals_hold_the_truth(seeds, seed_effect, prompt_effect, difference):
    """At least 93% in every world. Without a difference at most 5% of the runs are settled."""
    rng = np.random.default_rng([seeds, *map(hash, (seed_effect, prompt_effect, difference))])
    truth = true_difference(rng, seed_effect, prompt_effect, difference) if difference else 0.0
    values = differences(rng, seeds, 256, seed_effect, prompt_effect, difference)
    covered, settled = 0, 0
    for value in values:
        e, wide = crossed_interval(value), crossed_interval(value, 1 - 0.05 / 3)
        covered += e.low <= truth <= e.high
        settled += not wide.low <= 0 <= wide.high
    noise = 2 * np.sqrt(0.05 * 0.95 / RUNS)
    assert covered / RUNS >= 0.93
    if not difference:
        assert settled / RUNS <= 0.05 + noise


@pytest.mark.slow
def test_of_three_comparisons_without_a_difference_at_most_5_in_100_runs_settle_one():
    rng, settled = np.random.default_rng(5), 0
    three = [differences(rng, 3, 256, 0.055, 0.3, 0.0, 600) for _ in range(3)]
    for values in zip(*three, strict=True):
        wide = [crossed_interval(value, 1 - 0.05 / 3) for value in values]
        settled += any(not e.low <= 0 <= e.high for e in wide)
    assert settled / 600 <= 0.05


def test_the_mean_squares_are_those_of_the_analysis_of_variance():
    """Rows are seeds: means 2, 5, 8 (MS 27), columns 4, 5, 6 (MS 3), no rest."""
    value = np.array([[1, 2, 3], [4, 5, 6], [7, 8, 9]])
    e = crossed_interval(value)
    assert (e.mean, e.n) == (5, 3)
    freedom = 30**2 / (27**2 / 2 + 3**2 / 2)  # Satterthwaite's
    assert e.half == pytest.approx(stats.t.ppf(0.975, freedom) * np.sqrt(30 / 9), rel=1e-9)


def test_one_seed_gives_the_interval_of_its_prompts():
    value = np.array([[1.0, 0, 0, -1, 0, 1, 0, 0]])
    e = crossed_interval(value)
    assert (e.mean, e.n) == (0.125, 1)
    assert e.half == pytest.approx(2.364624 * np.std(value, ddof=1) / np.sqrt(8), rel=1e-5)


def test_equal_differences_in_all_seeds_do_not_settle_a_thing():
    """One prompt more in each of two seeds: the t-interval over seeds had width 0."""
    value = np.zeros((2, 24))
    value[0, 3] = value[1, 17] = 1
    e = crossed_interval(value)
    assert e.low < 0 < e.high
    same = np.zeros((3, 24))
    same[:, 3] = 1  # the same prompt in every seed
    assert crossed_interval(same).low < 0 < crossed_interval(same).high


@pytest.mark.parametrize("seeds", [1, 2, 5])
def test_equal_answers_have_an_interval_too(seeds):
    e = crossed_interval(np.zeros((seeds, 50)))
    assert e.mean == 0
    assert 0 < e.half < 0.6


@pytest.mark.parametrize("seeds", [2, 3, 8])
def test_never_narrower_than_prompts_alone_make_it(seeds):
    rng = np.random.default_rng(seeds)
    for value in differences(rng, seeds, 60, 0.02, 0.2, 0.05, 50):
        of_prompt = value.mean(axis=0)
        alone = 1.96 * of_prompt.std(ddof=1) / np.sqrt(60)
        assert crossed_interval(value).half >= alone


@pytest.mark.parametrize("shape", [(0, 5), (3, 1), (4,), (2, 2, 2)])
def test_what_has_no_interval_is_refused(shape):
    with pytest.raises(ValueError, match="seeds, prompts"):
        crossed_interval(np.zeros(shape))
