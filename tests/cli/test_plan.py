"""`boostlm plan`."""

import re

import pytest
from support.cli import call

pytestmark = pytest.mark.slow


PLAN = dict(beta=0.1, start=0.4, target_error=0.05, budget=500, prompts=7000)


def plan_arguments(**changes):
    words = []
    for name, value in (PLAN | changes).items():
        words += [f"--{name.replace('_', '-')}", value]
    return words


def test_plan_prints_the_curve_the_rounds_and_the_labels(capsys):
    status, out, err = call(capsys, "plan", *plan_arguments())
    assert (status, err) == (0, "")
    curve = re.findall(r"^ *(\d+)  (0\.\d{4}) +(\d+)  #*$", out, re.MULTILINE)
    assert curve[0] == ("0", "0.6000", "0")
    rounds, labels = re.search(r"takes (\d+) rounds and (\d+) labels", out).groups()
    assert curve[-1][0] == rounds
    assert curve[-1][2] == labels
    assert float(curve[-1][1]) <= 0.05
    errors = [float(error) for _, error, _ in curve]
    assert errors == sorted(errors, reverse=True)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"beta": 1.5}, "--beta 1.5 is not in (0, 1)"),
        ({"beta": 0}, "--beta 0.0 is not in (0, 1)"),
        ({"target_error": 1}, "--target-error 1.0 is not in (0, 1)"),
        ({"start": -0.1}, "--start -0.1 is not in [0, 1]"),
        ({"miss_rate": 2}, "--miss-rate 2.0 is not in [0, 1]"),
        ({"budget": 0}, "--budget 0 is below 1"),
        ({"prompts": -3}, "--prompts -3 is below 1"),
        ({"beta": "half"}, "invalid float value: 'half'"),
    ],
)
def test_plan_rejects_invalid_arguments(capsys, change, said):
    status, out, err = call(capsys, "plan", *plan_arguments(**change))
    assert (status, out) == (2, "")
    assert said in err


def test_plan_requires_its_arguments_and_reports_targets_out_of_reach(capsys):
    status, _, err = call(capsys, "plan")
    assert status == 2
    assert all(f"--{name}" in err for name in ("beta", "target-error", "budget", "prompts"))
    status, out, _ = call(capsys, "plan", *plan_arguments(miss_rate=0.3))
    assert status == 0
    assert "out of reach" in out
