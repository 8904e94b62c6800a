"""`boostlm plan`."""

import pytest
from support.cli import call
from support.runs import finished_run

from boostlm.cli.main import main
from boostlm.curation.planning import RUNS

PLAN = dict(beta=0.1, start=0.4, target_error=0.05, budget=500, prompts=7000)


def plan_arguments(**changes):
    words = []
    for name, value in (PLAN | changes).items():
        words += [f"--{name.replace('_', '-')}", value]
    return words


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"beta": 1.5}, "--beta 1.5 is not in (0, 1)"),
        ({"beta": 0}, "--beta 0.0 is not in (0, 1)"),
        ({"target_error": 1}, "--target-error 1.0 is not in (0, 1)"),
        ({"start": -0.1}, "--start -0.1 is not in [0, 1]"),
        ({"miss_rate": 2}, "--miss-rate 2.0 is not in [0, 1]"),
        ({"budget": 0}, "--budget 0 is below 1"),
        ({"k": 0}, "--k 0 is below 1"),
        ({"start_spread": 2}, "--start-spread 2.0 is not in [0, 1]"),
        ({"prompts": -3}, "--prompts -3 is below 1"),
        ({"beta": "half"}, "invalid float value: 'half'"),
    ],
)
def test_plan_rejects_invalid_arguments(capsys, change, said):
    status, out, err = call(capsys, "plan", *plan_arguments(**change))
    assert (status, out) == (2, "")
    assert said in err


def test_plan_requires_its_arguments(capsys):
    status, out, err = call(capsys, "plan")
    assert (status, out) == (2, "")
    assert "give --beta, --target-error, --budget, --prompts, or the directory of a run" in err
    assert "'bosting' unknown" in call(capsys, "plan", "--arms", "bosting")[2]


TOLD = ["plan", "--beta", "0.3", "--start", "0.4", "--target-error", "0.2", "--budget", "20"]


@pytest.mark.slow
def test_the_command_shows_both_ends_of_the_spread(capsys):
    assert main([*TOLD, "--prompts", "200", "--arms", "boosting"]) == 0
    lines = capsys.readouterr().out.splitlines()
    ends = [line.split() for line in lines if line.startswith("boosting")]
    assert [end[:2] for end in ends] == [["boosting", "0"], ["boosting", "1"]]
    assert ends[0][2] == "1"  # k = 8 draws of p = 0.4 solve all but a few
    assert int(ends[1][2]) > 5
    assert any("Accuracy alone does not determine a plan" in line for line in lines)
    assert f"Each range spans {RUNS} simulated runs." in lines


@pytest.mark.slow
def test_a_spread_that_is_given_is_the_only_one(capsys):
    assert main([*TOLD, "--prompts", "200", "--arms", "boosting", "--start-spread", "0.5"]) == 0
    out = capsys.readouterr().out
    assert len([line for line in out.splitlines() if line.startswith("boosting")]) == 1
    assert "two extremes" not in out


@pytest.mark.slow
def test_a_plan_from_a_run_is_a_frontier(capsys):
    run, _ = finished_run()
    assert main(["plan", str(run), "--target-error", "0.99", "--arms", "boosting,filter_only"]) == 0
    out = capsys.readouterr().out
    assert "measured on" in out
    budgets = [line.split()[1] for line in out.splitlines() if line.startswith("boosting ")]
    assert budgets == ["2", "4", "8", "16", "32"]
    assert len([line for line in out.splitlines() if line.startswith("filter_only ")]) == 1
    assert "Cheapest that reaches a training error of 0.99" in out


def test_a_plan_from_a_run_checks_its_options_too(tmp_path, capsys):
    status, out, err = call(capsys, "plan", tmp_path, "--beta", "1.5")
    assert (status, out) == (2, "")
    assert "--beta 1.5 is not in (0, 1)" in err
