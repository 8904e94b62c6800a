"""The numbers of two tiny runs are those that are stored.

Where the platform is the recorded one they are the same bit for bit. Elsewhere, floats may differ in
their last digits: the ledger, all counts and all texts must still be equal, measured fractions and
losses equal to 1e-3, and the sums over parameters to 1%.
"""

import pytest

from golden import tiny_runs

KEYS = ("rows", "ledger", "parameters")


def compare(made, expected, exact):
    for name in made:
        if exact:
            for key in KEYS:
                assert made[name][key] == expected[name][key], f"{name}: {key}"
            continue
        assert made[name]["ledger"] == expected[name]["ledger"]
        assert_near(made[name]["rows"], expected[name]["rows"], 1e-3, name)
        for state, of_made in made[name]["parameters"].items():
            assert_near(of_made["sums"], expected[name]["parameters"][state]["sums"], 1e-2, state)


def assert_near(made, expected, tolerance, where):
    if isinstance(expected, dict):
        assert made.keys() == expected.keys(), where
        for key in expected:
            assert_near(made[key], expected[key], tolerance, f"{where}, {key}")
    elif isinstance(expected, list):
        assert len(made) == len(expected), where
        for i, (a, b) in enumerate(zip(made, expected, strict=True)):
            assert_near(a, b, tolerance, f"{where}, {i}")
    elif isinstance(expected, float):
        assert made == pytest.approx(expected, rel=tolerance, abs=tolerance), where
    else:
        assert made == expected, where


@pytest.mark.slow
@pytest.mark.parametrize("devices", [1, 8])
def test_the_numbers_are_those_that_are_stored(tmp_path, devices):
    expected = tiny_runs.stored(devices)
    exact = expected["facts"] == tiny_runs.facts()
    compare(tiny_runs.run(tmp_path, devices), expected, exact)


def test_the_numbers_of_one_arm_are_those_that_are_stored(tmp_path):
    """The part of it that a fast run can make."""
    stored = tiny_runs.stored(1)
    expected = {"main": tiny_runs.of_seed_0(stored["main"], "boosting")}
    made = tiny_runs.run(tmp_path, 1, ["main"], seeds=1, arms=("boosting",))
    compare(made, expected, stored["facts"] == tiny_runs.facts())


def test_one_device_and_eight_agree():
    one, eight = tiny_runs.stored(1), tiny_runs.stored(8)
    for name in tiny_runs.RUNS:
        assert one[name]["ledger"] == eight[name]["ledger"]
        assert_near(eight[name]["rows"], one[name]["rows"], 1e-4, name)
        for state, of_one in one[name]["parameters"].items():
            assert_near(eight[name]["parameters"][state]["sums"], of_one["sums"], 1e-4, state)


def test_what_bites_bites():
    """The stored runs use the parts that they are there for."""
    rows = tiny_runs.stored(1)["main"]["rows"]
    assert any(0 < row["labels_kept"] < row["labels_spent"] for row in rows)
    assert any(row["round"] == 2 and row["churn"]["lost"] > 0 for row in rows)
    assert len({row["train_loss"] for row in rows if row["round"] == 1}) == 8  # no two arms alike
