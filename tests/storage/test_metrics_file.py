"""Rows stand in one order; a damaged one is dropped with a warning."""

import json

import pytest
from support.runs import tiny_config

from boostlm.storage.metrics_file import MetricsFile
from boostlm.storage.run_dir import RoundId, RunDir


def filled(folder, order=1):
    """A run directory with a row for every place, added in this order or the reverse."""
    run_dir, config = RunDir(folder), tiny_config(seeds=2, arms=("uniform", "boosting"))
    places = [(s, a, r) for s in (0, 1) for a in config.arms for r in (0, 1, 2)]
    metrics = MetricsFile(run_dir, config)
    for seed, arm, round_ in places[::order]:
        metrics.add({"arm": arm, "seed": seed, "round": round_, "x": 0.1})
    return run_dir, config, places


def place_of(row):
    return row["seed"], row["arm"], row["round"]


def test_rows_stand_in_one_order_whatever_the_order_of_writing(folder):
    run_dir, config, places = filled(folder, -1)
    lines = run_dir.metrics_path.read_text().splitlines()
    assert [place_of(json.loads(line)) for line in lines] == places
    assert [place_of(row) for row in MetricsFile(run_dir, config).rows.values()] == places
    assert RoundId(1, "uniform", 2) in MetricsFile(run_dir, config).rows
    assert RoundId(2, "uniform", 2) not in MetricsFile(run_dir, config).rows


@pytest.mark.parametrize(
    "line",
    [
        b'{"arm": "unif',
        b"",
        b"5",
        b"{}",
        b"\xff\xfe",
        b'{"arm": "best", "seed": 0, "round": 1}',
        b'{"arm": "uniform", "seed": 0, "round": 9}',
        b'{"arm": "uniform", "seed": [], "round": 1}',
    ],
)
def test_a_damaged_row_is_dropped_with_a_warning_and_gone(folder, line):
    run_dir, config, places = filled(folder)
    lines = run_dir.metrics_path.read_bytes().split(b"\n")
    lines[1] = line
    run_dir.metrics_path.write_bytes(b"\n".join(lines))
    before = run_dir.metrics_path.read_bytes()
    with pytest.warns(UserWarning, match=r"metrics\.jsonl, line 2 is damaged"):
        metrics = MetricsFile(run_dir, config)
    assert run_dir.metrics_path.read_bytes() == before  # who reads changes nothing
    assert [place_of(row) for row in metrics.rows.values()] == [places[0], *places[2:]]
    assert RoundId(*places[1]) not in metrics.rows
    metrics.add({"arm": places[1][1], "seed": places[1][0], "round": places[1][2], "x": 0.1})
    assert [place_of(row) for row in MetricsFile(run_dir, config).rows.values()] == places
