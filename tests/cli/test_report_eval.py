"""`boostlm report` and `boostlm eval`; reading commands leave a run unchanged."""

import builtins
import errno
import io
import json
import re
import shutil
import zlib
from dataclasses import replace

import numpy as np
import pytest
from support.cli import call
from support.runs import (
    files_and_times,
    finished_run,
    on_one_device,
    tiny_config,
)

from boostlm.config import OptimizerConfig, SeedModelConfig, TrainConfig
from boostlm.experiment import evaluate
from boostlm.experiment.context import make_context
from boostlm.experiment.evaluate import evaluate_saved
from boostlm.experiment.run import planned_stages, run_experiment
from boostlm.runtime.progress import Progress
from boostlm.storage.run_dir import RunDir
from boostlm.tasks import skills

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run():
    """The folder of a finished run. Read only."""
    return finished_run()[0]


# --- report -----------------------------------------------------------------------------------


def test_report_reproduces_the_page_and_the_table(run, tmp_path, capsys):
    status, out, err = call(capsys, "report", run, "--out", tmp_path / "page")
    assert (status, err) == (0, "")
    for name in ("report.html", "summary.png"):
        assert (tmp_path / "page" / name).read_bytes() == (run / name).read_bytes()
    assert out.strip().startswith("tiny: test accuracy")
    assert f"report: {tmp_path / 'page' / 'report.html'}" in out
    status, table, _ = call(capsys, "report", run)
    assert status == 0
    assert "report:" not in table
    assert table.strip() == out.partition("report:")[0].strip()


# --- commands that only read ------------------------------------------------------------------


@pytest.fixture
def damaged(run, tmp_path):
    """A killed run with an incomplete line of metrics and an incomplete label."""
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    for path in (copy / "metrics.jsonl", copy / "rounds/seed0/boosting/round02/ledger.jsonl"):
        path.write_bytes(path.read_bytes() + b'{"seed": 0, "arm": "boo')
    return copy


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("command", ["report", "eval", "export"])
@pytest.mark.parametrize("kind", ["whole", "damaged"])
def test_reading_commands_do_not_change_a_run(
    run, damaged, tmp_path, capsys, monkeypatch, command, kind
):
    """They also work on a read-only run, where every write fails."""
    where = run if kind == "whole" else damaged
    out = {"report": ["--out", tmp_path / "out"], "export": ["--out", tmp_path / "set"]}
    before = files_and_times(where)
    real = builtins.open

    def read_only(file, mode="r", *args, **options):
        inside = str(file).startswith(str(where))
        if inside and set(mode) & set("wax+"):
            raise PermissionError(errno.EACCES, "read-only", str(file))
        return real(file, mode, *args, **options)

    monkeypatch.setattr(builtins, "open", read_only)
    status, _, err = call(capsys, command, where, *out.get(command, []))
    monkeypatch.undo()
    if (command, kind) == ("report", "damaged"):
        assert status == 2  # it says which line is damaged
        assert "line 13" in err
    else:
        assert status == 0, err
    assert files_and_times(where) == before


@pytest.mark.parametrize("command", ["eval", "export"])
@pytest.mark.parametrize("lost", ["tokenizer.model", "task.json"])
def test_a_run_with_a_missing_file_is_rejected_and_nothing_is_created(
    run, tmp_path, capsys, command, lost
):
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    (copy / lost).unlink()
    before = files_and_times(copy)
    status, _, err = call(capsys, command, copy)
    assert status == 2
    assert f"{copy / lost} is missing" in err
    assert files_and_times(copy) == before


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("metrics.jsonl", None, "has no metrics yet"),
        ("metrics.jsonl", "{\n", "metrics, line 1: not JSON"),
        ("config.json", "", "config.json is not JSON"),
        ("config.json", "{}", "config.json: field arms is missing"),
    ],
)
def test_report_names_a_file_that_is_missing_or_damaged(run, tmp_path, capsys, name, text, said):
    for known in ("config.json", "metrics.jsonl"):
        shutil.copy(run / known, tmp_path / known)
    (tmp_path / name).unlink() if text is None else (tmp_path / name).write_text(text)
    status, _, err = call(capsys, "report", tmp_path)
    assert status == 2
    assert said in err


# --- eval -------------------------------------------------------------------------------------


def test_eval_reproduces_the_accuracy_in_the_metrics_exactly(run, capsys):
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    status, out, _ = call(capsys, "eval", run)
    assert status == 0
    [row] = [r for r in rows if (r["arm"], r["round"]) == ("boosting", 2)]
    assert "boosting, seed 0, round 2, test:" in out
    assert f"greedy accuracy {row['test_accuracy']:.4f}" in out
    right, prompts = map(int, re.search(r"\((\d+) of (\d+)\)", out).groups())
    assert right / prompts == row["test_accuracy"]
    for group, accuracy in row["eval_by_group"].items():
        assert re.search(rf"^ +{group} +{accuracy:.3f}$", out, re.MULTILINE)


def test_eval_distinguishes_models_and_splits(tmp_path, monkeypatch):
    """A model this small is never correct. It learns to stop, and half of all texts are accepted."""
    monkeypatch.setattr(
        skills._AnswerKey,
        "grade",
        lambda key, ids, texts: np.array([zlib.crc32(t.encode()) % 2 == 0 for t in texts], bool),
    )
    optimizer = OptimizerConfig(steps=150, batch_size=16, learning_rate=1e-2)
    config = tiny_config(
        arms=("uniform", "boosting"),
        seed_model=SeedModelConfig(optimizer),
        train=TrainConfig(optimizer=replace(optimizer, steps=10)),
    )
    folder = RunDir(tmp_path)
    folder.create(config)
    ctx = on_one_device(make_context(config, folder))
    rows = run_experiment(ctx, folder, Progress(planned_stages(config), io.StringIO()))
    monkeypatch.setattr(evaluate, "with_learner", lambda parts: ctx)
    found = set()
    for row in rows:
        result = evaluate_saved(folder, 0, row["arm"], row["round"], "test")
        assert result.accuracy == row["test_accuracy"]
        assert result.by_group == row["eval_by_group"]
        found.add(tuple(result.by_group.values()))
    assert len(found) == 5  # the seed model, and two rounds of two arms
    assert evaluate_saved(folder, 0, "boosting", None, "test") == result
    assert evaluate_saved(folder, 0, "boosting", None, "validation").by_group != result.by_group


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--round", "3"], "no checkpoint of seed 0, arm boosting, round 3"),
        (["--round", "-1"], "no checkpoint of seed 0, arm boosting, round -1"),
        (["--seed", "1"], "no checkpoint of seed 1"),
        (["--seed", "x"], "invalid int value"),
    ],
)
def test_eval_names_the_missing_checkpoint(run, capsys, arguments, said):
    status, _, err = call(capsys, "eval", run, *arguments)
    assert status == 2
    assert said in err
