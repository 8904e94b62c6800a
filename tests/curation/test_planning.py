"""Plans: Monte Carlo of the curation code against the closed recursion, and the command line."""

import numpy as np
import pytest

from boostlm import ARMS, theta_from_beta
from boostlm.cli.main import main
from boostlm.curation.planning import RUNS, PlanSettings, plan_arm, spread_rates

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


def test_a_budget_for_all_meets_the_rate_of_the_theorem():
    """One draw, every rejected draw labeled: the error shrinks by 1 - beta a round."""
    settings = PlanSettings(0.3, 2000, k=1, filter_labels=False)
    [run] = plan_arm(ARMS["boosting"], settings, np.zeros((1, 2000)), target_error=0.05)
    rounds = np.log(1 / 0.05) / theta_from_beta(0.3)
    assert abs(len(run.error_R) - 1 - rounds) <= 1.5
    np.testing.assert_allclose(run.error_R[:5], 0.7 ** np.arange(5), atol=0.04)


def test_a_run_that_is_stuck_ends():
    settings = PlanSettings(0.3, 10, k=4)
    p_RxN = np.tile(spread_rates(0.5, 1.0, 400), (2, 1))
    runs = plan_arm(ARMS["filter_only"], settings, p_RxN, target_error=0.1)
    assert [run.reached(0.1) for run in runs] == [None, None]
    assert all(20 < len(run.error_R) < 40 and run.error_R[-1] == 0.5 for run in runs)
    assert all((run.labels_R == 0).all() for run in runs)


def test_rounds_can_be_fixed():
    settings = PlanSettings(0.3, 10, k=4)
    p_RxN = np.tile(spread_rates(0.5, 1.0, 400), (2, 1))
    runs = plan_arm(ARMS["uniform"], settings, p_RxN, target_error=-1.0, max_rounds=13)
    assert all(run.labels_R.tolist() == [10 * r for r in range(14)] for run in runs)


@pytest.mark.parametrize("spread", [0.0, 0.1, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("mean", [0.0, 0.3, 1.0])
def test_rates_have_the_mean_and_the_spread(mean, spread):
    p_N = spread_rates(mean, spread, 20_000)
    assert p_N.shape == (20_000,)
    assert p_N.mean() == pytest.approx(mean, abs=1e-3)
    assert p_N.var() == pytest.approx(spread * mean * (1 - mean), abs=2e-3)


TOLD = ["plan", "--beta", "0.3", "--start", "0.4", "--target-error", "0.2", "--budget", "20"]


def test_the_command_shows_both_ends_of_the_spread(capsys):
    assert main([*TOLD, "--prompts", "200", "--arms", "boosting"]) == 0
    lines = capsys.readouterr().out.splitlines()
    ends = [line.split() for line in lines if line.startswith("boosting")]
    assert [end[:2] for end in ends] == [["boosting", "0"], ["boosting", "1"]]
    assert ends[0][2] == "1"  # k = 8 draws of p = 0.4 solve all but a few
    assert int(ends[1][2]) > 5
    assert any("Accuracy alone does not determine a plan" in line for line in lines)
    assert f"Ranges are those of {RUNS} simulated runs." in lines


def test_a_spread_that_is_given_is_the_only_one(capsys):
    assert main([*TOLD, "--prompts", "200", "--arms", "boosting", "--start-spread", "0.5"]) == 0
    out = capsys.readouterr().out
    assert len([line for line in out.splitlines() if line.startswith("boosting")]) == 1
    assert "two ends" not in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--prompts", "0"], "--prompts 0 is below 1"),
        ([], "give --prompts, or the directory of a run"),
        (["--prompts", "9", "--start-spread", "2"], r"--start-spread 2.0 is not in \[0, 1\]"),
        (["--prompts", "9", "--arms", "bosting"], "--arms: there is no arm 'bosting'"),
        (["--prompts", "9", "--k", "0"], "--k 0 is below 1"),
        (["--prompts", "9", "--beta", "1"], r"--beta 1.0 is not in \(0, 1\)"),
    ],
)
def test_an_impossible_argument_is_named(words, message, capsys):
    import re

    assert main([*TOLD, *words]) == 2
    assert re.search(message, capsys.readouterr().err)


@pytest.mark.slow
def test_a_plan_from_a_run_is_a_frontier(capsys):
    from support.runs import finished_run

    run, _ = finished_run()
    assert main(["plan", str(run), "--target-error", "0.99", "--arms", "boosting,filter_only"]) == 0
    out = capsys.readouterr().out
    assert "measured on" in out
    budgets = [line.split()[1] for line in out.splitlines() if line.startswith("boosting ")]
    assert budgets == ["2", "4", "8", "16", "32"]
    assert len([line for line in out.splitlines() if line.startswith("filter_only ")]) == 1
    assert "Cheapest that reaches a training error of 0.99" in out
