"""`boostlm run`: its output, its files, its live line, and wrong arguments."""

import json
import os
import pty
import re
import shutil
import subprocess
import threading

import pytest
from support.cli import call
from support.runs import (
    as_options,
    boostlm,
    command,
    environment,
    files_and_times,
    finished_run,
    tiny_config,
)

from boostlm.config import FOUR_ARMS

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run():
    """The folder of a finished run. Read only."""
    return finished_run()[0]


def test_a_run_prints_a_line_per_round_and_the_table(run):
    out = finished_run()[1]
    assert "\r" not in out
    assert "\x1b" not in out
    first, *lines = out.splitlines()
    assert first.startswith("tiny: 4 arms, 2 rounds, 1 seed, 24 prompts, 8 labels per round; 1 cpu")
    rounds = [line for line in lines if line.startswith("seed 0")]
    assert [line.split()[2] for line in rounds] == [arm for _ in range(3) for arm in FOUR_ARMS]
    assert all(re.search(r"round \d/2  test [01]\.\d{3} .*\(\d+:\d\d so far", r) for r in rounds)
    table = out[out.index("tiny: test accuracy") :]
    assert all(re.search(rf"^{arm} ", table, re.MULTILINE) for arm in FOUR_ARMS)
    assert f"report: {run / 'report.html'}" in table


def test_a_run_writes_the_documented_files(run):
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [(r["arm"], r["round"]) for r in rows] == [(a, r) for a in FOUR_ARMS for r in range(3)]
    for key in ("seed", "test_accuracy", "train_solved", "labels_spent", "distinct", "seconds"):
        assert all(key in row for row in rows)
    assert all(0 <= r["labels_spent"] <= 8 * r["round"] for r in rows)
    assert {p.name for p in run.iterdir()} >= {
        "config.json", "task.json", "tokenizer.model", "rounds", "report.html", "summary.png"
    }  # fmt: skip


def test_a_restarted_finished_run_does_no_work_and_prints_the_table(run, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    before = files_and_times(copy, but=("lock", "report.html", "summary.png"))
    again = boostlm("run", "--run-dir", copy, *as_options(tiny_config()))
    assert (again.returncode, again.stderr) == (0, "")
    assert not re.search(r"^seed 0 ", again.stdout, re.MULTILINE)
    table = finished_run()[1].partition("\n\n")[2].rpartition("report:")[0]
    assert table in again.stdout
    assert files_and_times(copy, but=("lock", "report.html", "summary.png")) == before


def test_a_config_file_and_options_can_be_combined_in_any_order(tmp_path, capsys, monkeypatch):
    path = tmp_path / "mine.py"
    path.write_text(
        "from boostlm.config import *\ndef get_config():\n    return Config(name='m')\n"
    )
    monkeypatch.chdir(tmp_path)
    for order in (["--rounds", "0", path], [path, "--rounds", "0"], [path, "--rounds=0"]):
        status, _, err = call(capsys, "run", *order)
        assert status == 2
        assert "rounds: 0 is below 1" in err
    assert [p.name for p in tmp_path.iterdir()] == ["mine.py"]


def test_the_live_line_works_on_a_terminal(tmp_path):
    """On a pseudo-terminal, it shows the stages, fits the width, and every line is cleared."""
    ours, theirs = pty.openpty()
    config = tiny_config(arms=("boosting",))
    process = subprocess.Popen(
        command("run", "--run-dir", tmp_path / "run", *as_options(config)),
        stdout=theirs,
        stderr=theirs,
        env=environment() | {"COLUMNS": "60"},
    )
    os.close(theirs)
    seen = []
    reader = threading.Thread(target=lambda: seen.extend(iter(lambda: read_some(ours), b"")))
    reader.start()
    assert process.wait(timeout=300) == 0
    reader.join()
    os.close(ours)
    text = b"".join(seen).decode()
    for stage in ("seed model", "sample", "label", "train", "evaluate"):
        assert f"· {stage}" in text
    live = [part for part in re.split(r"\r\x1b\[K|\r?\n", text) if "·" in part]
    assert max(len(part) for part in live) == 59
    assert "\r\x1b[Kseed 0  boosting     round 2/2" in text  # cleared before the permanent line


def read_some(descriptor):
    try:
        return os.read(descriptor, 65536)
    except OSError:  # a pseudo-terminal raises this when the other side is closed
        return b""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "--run-dir"], "expected one argument"),
        (["run", "nowhere.py"], "the config file nowhere.py does not exist"),
        (["run", "--sedes", "3"], "--sedes is not an option; did you mean --seeds?"),
        (["run", "--run_dir", "x"], "--run_dir is not an option; did you mean --run-dir or"),
        (["run", "--run-dir", "gs2://bucket/run"], "gs2://bucket/run cannot be opened"),
        (["run", "--rounds"], "--rounds needs a value"),
        (["run", "--rounds", "many"], "--rounds takes a whole number, not 'many'"),
        (["run", "--arms", ""], "arms: name at least one"),
        (["report"], "required: run_dir"),
        (["report", "."], ". is not a run directory: it has no config.json"),
        (["report", "nowhere"], "nowhere is not a run directory"),
        (["report", "a", "b"], "unknown argument 'b'"),
        (["eval", "nowhere"], "nowhere is not a run directory"),
        (["eval", ".", "--arm", "best"], "is not a run directory: it has no config.json"),
        (["eval", ".", "--rounds", "3"], "unknown argument '--rounds=3'"),
        (["rnu"], "invalid choice: 'rnu'"),
        ([], "required: COMMAND"),
    ],
)
def test_user_errors_are_reported_without_a_traceback(
    capsys, tmp_path, monkeypatch, arguments, said
):
    monkeypatch.chdir(tmp_path)
    status, out, err = call(capsys, *arguments)
    assert (status, out) == (2, "")
    assert said in err
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_other_files_is_rejected_and_left_unchanged(capsys, tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    for where in (tmp_path, tmp_path / "thesis.tex"):
        status, _, err = call(capsys, "run", "--run-dir", where)
        assert status == 2
        assert re.search("name a (new )?folder", err)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]
