"""boostlm export: what a round trained on, as lines that any reader of JSON takes."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from support.runs import finished_run

from boostlm.cli.main import main
from boostlm.config import FOUR_ARMS
from boostlm.engine.tokenizer import Tokenizer
from boostlm.storage.durable_files import load_arrays
from boostlm.storage.run_dir import RoundId, RunDir

pytestmark = pytest.mark.slow

TYPES = dict(
    prompt=str, response=str, weight=float, round=int, source=str,
    prompt_id=int, sample=int, finished=bool, seed=int, arm=str,
)  # fmt: skip


def exported(run, capsys, out, *arguments):
    """The lines as objects, and what was printed."""
    words = ["export", run, *(("--out", out) if out else ()), *arguments]
    assert main([str(word) for word in words]) == 0
    said = capsys.readouterr().out
    file = Path(re.match(r"(.*): \d+ own samples and \d+ labels", said)[1])
    return [json.loads(line) for line in file.read_text().split("\n")[:-1]], said


def ledger(run, arm, round_):
    path = RunDir(run).round_dir(RoundId(0, arm, round_)).ledger
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.mark.parametrize("round_", [1, 2])
@pytest.mark.parametrize("arm", FOUR_ARMS)
def test_a_line_for_each_example_and_one_flat_schema(tmp_path, capsys, arm, round_):
    run = finished_run()[0]
    rows, _ = exported(run, capsys, tmp_path / "x", "--arm", arm, "--round", round_)
    for row in rows:
        assert {name: type(value) for name, value in row.items()} == TYPES
        assert list(row) == list(TYPES)
    assert sum(row["weight"] for row in rows) == pytest.approx(1, abs=1e-6)
    assert {(row["seed"], row["arm"], row["round"]) for row in rows} == {(0, arm, round_)}

    stage = load_arrays(RunDir(run).round_dir(RoundId(0, arm, round_ - 1)).verdicts)
    wanted = np.ones_like(stage["accepted"]) if arm == "do_nothing" else stage["accepted"]
    own = [row for row in rows if row["source"] == "own sample"]
    assert [(row["prompt_id"], row["sample"]) for row in own] == list(zip(*np.nonzero(wanted)))
    bought = [row for row in rows if row["source"] != "own sample"]
    kept = sorted(
        (e for e in ledger(run, arm, round_) if e["kept"]), key=lambda e: (e["prompt"], e["sample"])
    )
    assert [(r["prompt_id"], r["sample"], r["source"], r["response"]) for r in bought] == [
        (e["prompt"], e["sample"], e["source"], e["text"]) for e in kept
    ]
    if bought:
        assert sum(row["weight"] for row in bought) == pytest.approx(1 / 3)
        assert len({row["weight"] for row in bought}) == len({row["weight"] for row in own}) == 1


def test_texts_are_what_was_sampled(tmp_path, capsys):
    run = finished_run()[0]
    rows, _ = exported(run, capsys, tmp_path / "x", "--arm", "do_nothing")
    samples = load_arrays(RunDir(run).round_dir(RoundId(0, "do_nothing", 1)).samples)
    assert [row["finished"] for row in rows] == samples["finished_NxK"].reshape(-1).tolist()
    decode = Tokenizer((run / "tokenizer.model").read_bytes()).decode
    for row in rows:
        n, k = row["prompt_id"], row["sample"]
        tokens = samples["tokens_NxKxR"][n, k, : samples["length_NxK"][n, k]]
        assert row["response"] == decode(tokens.tolist())
    assert len({row["prompt"] for row in rows}) == 24


def test_the_last_round_of_boosting_is_what_it_writes_by_itself(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = finished_run()[0]
    rows, said = exported(run, capsys, None)
    assert said.startswith("seed0-boosting-round02.jsonl: ")
    labels = sum(row["source"] == "simulated" for row in rows)
    assert f"{len(rows) - labels} own samples and {labels} labels" in said
    assert labels > 0
    assert rows == exported(run, capsys, tmp_path / "y", "--round", 2)[0]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--round", "3"], r"round 3 of seed 0, arm boosting is not finished .finished: 1, 2"),
        (["--round", "0"], r"round 0 of .* is not finished .* Rounds of training count from 1"),
        (["--seed", "1"], "no seed 1 of arm boosting"),
    ],
)
def test_what_there_is_no_set_of_is_said(capsys, arguments, said):
    assert main(["export", str(finished_run()[0]), *arguments]) == 2
    assert re.search(said, capsys.readouterr().err)


@pytest.mark.parametrize(
    ("lost", "said"),
    [
        ("rounds/seed0/boosting/round01/samples.npz", "samples.npz is missing or torn"),
        ("rounds/seed0/boosting/round01/verdicts.npz", "verdicts.npz is missing or torn"),
        (
            "rounds/seed0/boosting/round02/ledger.jsonl",
            r"ledger.jsonl holds 0 labels, and round 2 bought \d",
        ),
        ("metrics.jsonl", "round 1 of seed 0, arm boosting is not finished .no round is finished"),
    ],
)
def test_a_round_whose_stages_are_not_all_there_is_refused(
    tmp_path, capsys, monkeypatch, lost, said
):
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "run"
    shutil.copytree(finished_run()[0], run)
    (run / lost).unlink()
    assert main(["export", str(run)]) == 2
    assert re.search(said, capsys.readouterr().err)
    assert not list(tmp_path.glob("*.jsonl"))
