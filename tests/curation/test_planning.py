"""Plans: Monte Carlo of the curation code against the closed recursion."""

import numpy as np
import pytest

from boostlm import ARMS, theta_from_beta
from boostlm.curation.planning import PlanSettings, plan_arm, spread_rates

N, BUDGET, BETA = 7000, 500, 0.1


def recursion(p_N, k, filter_labels, target, beta=BETA, budget=BUDGET):
    """Rounds that boosting takes: untouched unsolved prompts by class, and those stuck at p = 0."""
    p_N, u_N, stuck = np.asarray(p_N), np.ones(len(p_N)), 0.0
    for rounds in range(2000):
        if (np.sum(u_N * (1 - p_N)) + stuck) / len(p_N) <= target:
            return rounds
        fails_N = u_N * (1 - p_N) ** k
        failing = fails_N.sum() + stuck
        labels = budget / failing
        asked = min(labels, 1)
        turned = beta * asked if labels <= 1 else 1 - (1 - beta) ** labels
        stuck *= 1 - turned
        if filter_labels:
            u_N = fails_N * (1 - turned)
        else:
            stuck += np.sum(fails_N) * (asked - turned)
            u_N = fails_N * (1 - asked)
    raise AssertionError("never")


def rates_of(name):
    rng = np.random.default_rng(0)
    return {
        "all alike": np.full(N, 0.4),
        "Beta(1, 1.5)": rng.beta(1, 1.5, N),
        "Beta(0.2, 0.3)": rng.beta(0.2, 0.3, N),
        "0 or 1": (np.arange(N) >= 0.6 * N).astype(float),
    }[name]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "k", "filter_labels", "rounds"),
    [
        ("all alike", 8, True, 1), ("all alike", 1, False, 23),
        ("Beta(1, 1.5)", 8, True, 3), ("Beta(1, 1.5)", 1, False, 35),
        ("Beta(0.2, 0.3)", 8, True, 26), ("Beta(0.2, 0.3)", 1, False, 56),
        ("0 or 1", 8, True, 78), ("0 or 1", 1, False, 78),
    ],
)  # fmt: skip
def test_a_plan_is_within_a_round_of_the_recursion(name, k, filter_labels, rounds):
    p_N = rates_of(name)
    expected = recursion(p_N, k, filter_labels, 0.05)
    assert abs(expected - rounds) <= 1
    settings = PlanSettings(BETA, BUDGET, k=k, filter_labels=filter_labels)
    [run] = plan_arm(ARMS["boosting"], settings, p_N[None], target_error=0.05)
    assert abs(run.reached(0.05) - expected) <= 1
    assert run.labels_R[run.reached(0.05)] <= BUDGET * run.reached(0.05)
    assert len(run.error_R) == run.reached(0.05) + 1


@pytest.mark.slow
def test_a_budget_for_all_meets_the_rate_of_the_theorem():
    """One draw, every rejected draw labeled: the error shrinks by 1 - beta a round."""
    settings = PlanSettings(0.3, 2000, k=1, filter_labels=False)
    [run] = plan_arm(ARMS["boosting"], settings, np.zeros((1, 2000)), target_error=0.05)
    rounds = np.log(1 / 0.05) / theta_from_beta(0.3)
    assert abs(len(run.error_R) - 1 - rounds) <= 1.5
    np.testing.assert_allclose(run.error_R[:5], 0.7 ** np.arange(5), atol=0.04)


@pytest.mark.slow
def test_a_run_that_is_stuck_ends():
    settings = PlanSettings(0.3, 10, k=4)
    p_RxN = np.tile(spread_rates(0.5, 1.0, 400), (2, 1))
    runs = plan_arm(ARMS["filter_only"], settings, p_RxN, target_error=0.1)
    assert [run.reached(0.1) for run in runs] == [None, None]
    assert all(20 < len(run.error_R) < 40 and run.error_R[-1] == 0.5 for run in runs)
    assert all((run.labels_R == 0).all() for run in runs)


@pytest.mark.slow
def test_rounds_can_be_fixed():
    settings = PlanSettings(0.3, 10, k=4)
    p_RxN = np.tile(spread_rates(0.5, 1.0, 400), (2, 1))
    runs = plan_arm(ARMS["uniform"], settings, p_RxN, target_error=None, max_rounds=13)
    assert all(run.labels_R.tolist() == [10 * r for r in range(14)] for run in runs)


@pytest.mark.parametrize("spread", [0.0, 0.1, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("mean", [0.0, 0.3, 1.0])
def test_rates_have_the_mean_and_the_spread(mean, spread):
    p_N = spread_rates(mean, spread, 20_000)
    assert p_N.shape == (20_000,)
    assert p_N.mean() == pytest.approx(mean, abs=1e-3)
    assert p_N.var() == pytest.approx(spread * mean * (1 - mean), abs=2e-3)


@pytest.mark.slow
def test_as_many_labels_are_bought_as_the_other_arm_kept():
    """More than the arm's own budget, too; none after the other's end."""
    p_RxN = np.full((2, 300), 0.02)
    other = plan_arm(ARMS["boosting"], PlanSettings(0.5, 40, k=1), p_RxN, target_error=0.8)
    settings = PlanSettings(0.999, 5, k=1, filter_labels=False)
    runs = plan_arm(
        ARMS["supervised"], settings, p_RxN, target_error=None, max_rounds=10, as_many_as=other
    )
    for run, model in zip(runs, other, strict=True):
        ended = len(model.kept_R)
        assert ended < 10
        assert run.labels_R[:ended].tolist() == model.kept_R.tolist()
        assert (run.labels_R[ended:] == model.kept_R[-1]).all()
