"""Whole and damaged runs that are started again end alike, bit for bit."""

import json
import shutil
from dataclasses import replace

import pytest
from support.lives import CONFIG, Shop, drop_rows, files_below, live, outcome
from support.runs import (
    rows_of,
    stage_files,
)

from boostlm.errors import BoostError
from boostlm.storage import checkpoint
from boostlm.storage.run_dir import RoundId, RunDir

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("small_chunks")]


def test_a_run_has_something_to_lose(ctx, whole):
    rows, made = whole[1]["rows"], whole[1]
    assert len(rows) == 2 * 3
    assert set(made["params"]) == {(0, "filter_only", 2), (0, "boosting", 2)}
    assert sum(name.endswith("ledger.jsonl") for name in made["files"]) == 2
    assert len({json.dumps(made["params"][k], default=str) for k in made["params"]}) == 2
    assert rows[-1]["labels_spent"] > 0


def test_two_whole_runs_are_identical(ctx, whole, tmp_path):
    live(ctx, tmp_path)
    assert outcome(ctx, tmp_path) == whole[1]


def test_a_finished_run_does_no_work(ctx, copy, whole, monkeypatch):
    before = {str(p): (p.read_bytes(), p.stat().mtime) for p in files_below(copy)}
    for name in ("sample", "train"):
        monkeypatch.setattr(ctx.learner, name, lambda *a, **k: pytest.fail("worked"))
    shop = Shop(ctx)
    rows = live(ctx, copy, shop)
    assert [{k: v for k, v in row.items() if k != "seconds"} for row in rows] == whole[1]["rows"]
    assert shop.sold == []
    after = {str(p): (p.read_bytes(), p.stat().mtime) for p in files_below(copy)}
    assert {k: v for k, v in after.items() if not k.endswith("lock")} == {
        k: v for k, v in before.items() if not k.endswith("lock")
    }


def tear(folder):
    """Cuts the largest file of a checkpoint; returns its path."""
    file = max(files_below(folder), key=lambda p: p.stat().length)
    file.write_bytes(file.read_bytes()[:-1])
    return file


@pytest.fixture(scope="module")
def keeping_two(ctx, tmp_path_factory):
    """A context and a whole run of it that keeps two checkpoints an arm. Read only."""
    ctx = replace(ctx, config=replace(CONFIG, keep_checkpoints=2))
    root = tmp_path_factory.mktemp("two")
    live(ctx, root)
    return ctx, root, outcome(ctx, root)


@pytest.mark.parametrize("torn", [(2,), (1, 2), (1,)])
def test_torn_checkpoints_fall_back_with_a_warning_and_end_alike(keeping_two, tmp_path, torn):
    ctx, source, expected = keeping_two
    shutil.copytree(source, tmp_path / "run")
    folder = RunDir(tmp_path / "run")
    drop_rows(folder.root, lambda row: (row["arm"], row["round"]) != ("boosting", 2))
    files = [tear(folder.round_dir(RoundId(0, "boosting", r)).checkpoint) for r in torn]
    shop = Shop(ctx)
    if 2 in torn:
        with pytest.warns(UserWarning, match="checkpoint file") as caught:
            live(ctx, folder.root, shop)
        said = " ".join(str(w.message) for w in caught)
        assert all(f"checkpoint file {file} is torn" in said for file in files)
        assert outcome(ctx, folder.root) == expected
    else:
        live(ctx, folder.root, shop)  # the newest one is good: the other is not looked at
        assert rows_of(folder.root) == expected["rows"]
    assert shop.sold == []  # the ledger has them all


@pytest.mark.filterwarnings("ignore:checkpoint file:UserWarning")
def test_torn_last_checkpoint_of_a_finished_run_is_made_again(ctx, copy, whole):
    tear(RunDir(copy).round_dir(RoundId(0, "boosting", 2)).checkpoint)
    live(ctx, copy)
    assert outcome(ctx, copy) == whole[1]


def test_torn_seed_model_is_trained_again(ctx, copy, whole):
    drop_rows(copy, lambda row: row["arm"] != "boosting")
    tear(RunDir(copy).round_dir(RoundId(0, "boosting", 0)).checkpoint)
    with pytest.warns(UserWarning, match="round00.* is torn"):
        live(ctx, copy)
    assert outcome(ctx, copy) == whole[1]


@pytest.mark.parametrize("round_", [0, 1, 2])
@pytest.mark.parametrize("arm", CONFIG.arms)
def test_a_missing_row_is_made_again(ctx, copy, whole, arm, round_):
    drop_rows(copy, lambda row: (row["arm"], row["round"]) != (arm, round_))
    live(ctx, copy)
    assert outcome(ctx, copy) == whole[1]


def test_all_rows_missing_are_made_again_from_what_was_committed(ctx, copy, whole):
    (copy / "metrics.jsonl").unlink()
    shop = Shop(ctx)
    live(ctx, copy, shop)
    assert outcome(ctx, copy) == whole[1]
    assert shop.sold == []


@pytest.mark.parametrize("torn", [True, False])
def test_torn_or_missing_stage_files_are_made_again(ctx, copy, whole, torn):
    (copy / "metrics.jsonl").unlink()
    checkpoint.remove(RunDir(copy).round_dir(RoundId(0, "boosting", 2)).checkpoint)
    checkpoint.remove(RunDir(copy).round_dir(RoundId(0, "filter_only", 2)).checkpoint)
    files = [p for p in stage_files(copy) if p.suffix == ".npz"]
    assert len(files) == 3 * (1 + 2 * 2)
    for path in files:
        path.write_bytes(path.read_bytes()[: len(path.read_bytes()) // 2])
        if not torn:
            path.unlink()
    if torn:
        with pytest.warns(UserWarning, match="is torn") as caught:
            live(ctx, copy)
        said = " ".join(str(w.message) for w in caught)
        assert all(f"{path} is torn" in said for path in files)
    else:
        live(ctx, copy)
    assert outcome(ctx, copy) == whole[1]


def test_a_ledger_of_other_labels_is_refused_and_kept(ctx, copy):
    path = RunDir(copy).round_dir(RoundId(0, "boosting", 2)).ledger
    lines = path.read_text().splitlines()
    strange = json.dumps(json.loads(lines[0]) | {"sample": 77})
    path.write_text("\n".join([*lines, strange]) + "\n")
    checkpoint.remove(RunDir(copy).round_dir(RoundId(0, "boosting", 2)).checkpoint)
    drop_rows(copy, lambda row: (row["arm"], row["round"]) != ("boosting", 2))
    before = path.read_bytes()
    with pytest.raises(BoostError, match=r"boosting, round 2, stage label: .* would not buy"):
        live(ctx, copy)
    assert path.read_bytes() == before
