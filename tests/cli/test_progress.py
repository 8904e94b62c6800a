"""The progress display: stages, time left, clock."""

import io

import pytest
from support.runs import (
    tiny_config,
)

from boostlm.experiment.run import planned_stages
from boostlm.runtime.progress import Progress, clock

pytestmark = pytest.mark.slow


def test_the_remaining_time_is_estimated_from_the_finished_stages(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("boostlm.runtime.progress.time.monotonic", lambda: now[0])
    progress = Progress({"sample": 4, "train": 4}, io.StringIO())
    assert progress.remaining() is None
    for kind, seconds in (("sample", 5), ("train", 9), ("sample", 1), ("train", 3)):
        with progress.stage(kind):
            now[0] += seconds
    with progress.stage("sample"):
        assert progress.remaining() == 2 * 1 + 2 * 3  # the first times include compilation
        now[0] += 0.5
        assert progress.remaining() == 7.5
        progress.skip("train", 5)
        assert progress.remaining() == 1.5
        assert progress.times_line() == "0:19 so far, about 0:02 to go"


def test_planned_stages_counts_the_stages_of_a_run():
    assert planned_stages(tiny_config(seeds=3)) == {
        "seed model": 3,
        "sample": 3 * (1 + 4 * 2),
        "label": 3 * 2 * 2,
        "train": 3 * 4 * 2,
        "evaluate": 3 * (1 + 4 * 2),
    }


def test_the_clock():
    assert [clock(s) for s in (0, 59.6, 61, 3600, 36061)] == ["0:00", "1:00", "1:01", "1:00:00", "10:01:01"]  # fmt: skip
