"""Runs that are killed, and go on: nothing is lost, nothing bought twice, everything identical."""

import itertools
import json
import os
import re
import resource
import shutil
import signal
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from etils import epath
from support.runs import (
    OPTIMIZER,
    as_options,
    bits,
    boostlm,
    finished_run,
    ledger_files,
    on_one_device,
    rows_of,
    stage_files,
    started,
    tiny_config,
)

from boostlm.cli.main import main
from boostlm.config import FilterConfig
from boostlm.engine.learner import LanguageLearner
from boostlm.errors import BoostError
from boostlm.experiment import resume
from boostlm.experiment.context import make_context
from boostlm.experiment.run import planned_stages, run_experiment
from boostlm.labelers import simulated
from boostlm.labelers.registry import make_labeler
from boostlm.runtime.progress import Progress
from boostlm.storage import checkpoint, durable_files
from boostlm.storage.run_dir import RoundId, RunDir

pytestmark = pytest.mark.slow

CONFIG = tiny_config(arms=("filter_only", "boosting"), keep_checkpoints=1)


class Killed(BaseException):
    """Stands in for SIGKILL: nothing may catch it."""


@pytest.fixture(scope="module")
def ctx(tmp_path_factory):
    """One device, compiled once for all runs of this module."""
    return on_one_device(make_context(CONFIG, RunDir(tmp_path_factory.mktemp("ctx"))))


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    """Several commits of labels a round."""
    monkeypatch.setattr(simulated, "_AT_ONCE", 3)


class Shop:
    """The labeler, with a receipt for every label."""

    def __init__(self, ctx):
        self.labeler = simulated.simulated_labeler(ctx.config.label, ctx.task.answer_key("train"))
        self.sold = []

    def __call__(self, queries):
        for batch in self.labeler(queries):
            self.sold += [(q.seed, q.round, q.prompt, q.sample) for q, _ in batch]
            yield batch


def live(ctx, root, shop=None):
    """One process's life, as the command line would have it."""
    folder = RunDir(root)
    with folder.locked():
        folder.create(ctx.config)
        with open(os.devnull, "w") as out:
            progress = Progress(planned_stages(ctx.config), out)
            labeler_of = (lambda context: shop) if shop else make_labeler
            return run_experiment(ctx, folder, progress, labeler_of)


def outcome(ctx, root):
    """Everything that must come out alike, bit for bit."""
    folder, config = RunDir(root), ctx.config
    kept = {}
    for seed, arm, round_ in itertools.product(range(config.seeds), config.arms, range(1, 99)):
        path = folder.round_dir(RoundId(seed, arm, round_)).checkpoint
        if path.exists():
            assert checkpoint.is_good(path)
            kept[seed, arm, round_] = bits(resume.load_state(path, resume.shapes_of(ctx)))
    return {
        "rows": rows_of(root),
        "params": kept,
        "seed model": bits(
            resume.load_learner(folder, RoundId(0, "boosting", 0), resume.shapes_of(ctx))
        ),
        "files": {str(p.relative_to(root)): p.read_bytes() for p in stage_files(root)},
    }


def files_below(root):
    return sorted(epath.Path(f) / name for f, _, found in os.walk(root) for name in found)


@pytest.fixture(scope="module")
def whole(ctx, tmp_path_factory):
    """(folder, outcome) of a run that nothing interrupted. Read only."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(simulated, "_AT_ONCE", 3)
        root = tmp_path_factory.mktemp("whole")
        live(ctx, root)
    return root, outcome(ctx, root)


@pytest.fixture
def copy(whole, tmp_path):
    """A finished run that a test may damage."""
    shutil.copytree(whole[0], tmp_path / "run")
    return tmp_path / "run"


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


# --- a crash at every commit point ------------------------------------------------------------


class Crashes:
    """Raises Killed at the `at`-th commit (0, 1, ...) of a life: half-way through it or after it."""

    def __init__(self, patch, at, how):
        self.at, self.how, self.seen = at, how, []
        for module, name, half in (
            (durable_files, "write_atomically", self.half_a_temporary_file),
            (durable_files, "append_durably", self.half_a_line),
            (checkpoint, "_write", self.half_a_checkpoint),
            (checkpoint, "_remove", self.half_removed),
        ):
            patch.setattr(module, name, self.wrap(getattr(module, name), half))

    def wrap(self, real, half):
        def call(path, *data):
            if real is checkpoint_remove and not path.exists():
                return real(path)
            return self.commit(path, lambda: real(path, *data), lambda: half(path, *data))

        return call

    def commit(self, path, real, half):
        self.seen.append(str(path))
        if len(self.seen) - 1 != self.at:
            return real()
        half() if self.how == "half" else real()
        raise Killed(path)

    def half_a_temporary_file(self, path, data):
        path.parent.mkdir(parents=True, exist_ok=True)
        (path.parent / f"{path.name}.0123abcd.tmp").write_bytes(data[: len(data) // 2])

    def half_a_line(self, path, data):
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "ab") as file:
            file.write(data[: len(data) * 3 // 5])

    def half_a_checkpoint(self, path, tree):
        for folder in (path, path.parent / f"{path.name}.orbax-checkpoint-tmp"):
            (folder / "d").mkdir(parents=True, exist_ok=True)
            (folder / "d" / "0123").write_bytes(b"torn")

    def half_removed(self, path):
        (path.parent / f"{path.name}.manifest.json").unlink()
        next(iter(files_below(path))).unlink()


checkpoint_remove = checkpoint._remove


def lives(ctx, root, shop, at, how):
    """Crashes every life at its `at`-th commit until one gets through; the paths crashed at.

    A life that was crashed where the last one was gets a commit more, or none would get further.
    """
    crashed = []
    while True:
        again = sum(path == crashed[-1] for path in crashed[-3:])
        assert len(crashed) < 200, f"no way past {crashed[-1]}"
        on_disk = labels_on_disk(root)
        sold = len(shop.sold)
        with pytest.MonkeyPatch.context() as patch:
            Crashes(patch, at + max(0, again - 1), how)
            try:
                live(ctx, root, shop)
                done = True
            except Killed as killed:
                crashed.append(str(killed))
                done = False
        assert not on_disk & set(shop.sold[sold:]), "bought again"
        if done:
            return crashed


def labels_on_disk(root):
    entries = set()
    for path in ledger_files(root):
        for line in path.read_bytes().split(b"\n")[:-1]:
            e = json.loads(line)
            entries.add((e["seed"], e["round"], e["prompt"], e["sample"]))
    return entries


@pytest.mark.filterwarnings("ignore:.*ignored a torn last line:UserWarning")
@pytest.mark.parametrize(("at", "how"), [(0, "after"), (1, "half")])
def test_a_crash_at_every_commit(ctx, whole, tmp_path, at, how):
    """Every life commits one thing more and dies: so each commit of the run is crashed at once."""
    shop = Shop(ctx)
    crashed = lives(ctx, tmp_path, shop, at, how)
    kinds = (
        "config",
        "samples",
        "verdicts",
        "eval",
        "ledger",
        "manifest",
        "metrics",
        "round01",
        "round02",
    )
    for kind in kinds[(at > 0) :]:
        assert any(kind in path for path in crashed), f"never crashed at {kind}"
    assert len(crashed) >= 30
    assert outcome(ctx, tmp_path) == whole[1]
    assert not [p for p in files_below(tmp_path) if p.name.endswith(".tmp")]


@pytest.mark.filterwarnings("ignore:.*ignored a torn last line:UserWarning")
@pytest.mark.parametrize("how", ["half", "after"])
def test_one_crash_and_a_run_to_the_end(ctx, whole, tmp_path, how):
    """A spread of the commits, others for each way."""
    for at in range({"half": 4, "after": 10}[how], 35, 12):
        root, shop = tmp_path / str(at), Shop(ctx)
        with pytest.MonkeyPatch.context() as patch:
            Crashes(patch, at, how)
            with pytest.raises(Killed):
                live(ctx, root, shop)
        on_disk, sold = labels_on_disk(root), len(shop.sold)
        live(ctx, root, shop)
        assert not on_disk & set(shop.sold[sold:])
        assert outcome(ctx, root) == whole[1]


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


# --- damaged and missing files ----------------------------------------------------------------


def drop_rows(root, keep):
    """Forgets rows of metrics.jsonl, as a run that was killed earlier would have."""
    path = root / "metrics.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows if keep(row)))


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


# --- errors that stop a round -----------------------------------------------------------------


def fails_alike(ctx, root, pattern, kept):
    """The error, twice; what was committed before it stays as it was."""
    folder, first = RunDir(root), None
    for _ in range(2):
        with pytest.raises(BoostError, match=pattern):
            live(ctx, root)
        assert checkpoint.is_good(folder.round_dir(RoundId(0, "filter_only", 0)).checkpoint)
        assert [(row["arm"], row["round"]) for row in rows_of(root)] == kept
        files = {str(p): p.read_bytes() for p in files_below(root) if "checkpoint" in p.parts}
        assert first in (None, files)
        first = files


def test_nan_says_where_and_keeps_the_last_good_state(ctx, tmp_path):
    optimizer = replace(OPTIMIZER, learning_rate=1e38)
    config = replace(CONFIG, train=replace(CONFIG.train, optimizer=optimizer))
    where = "seed 0, arm filter_only, round 1, stage train: .*not finite"
    fails_alike(replace(ctx, config=config), tmp_path, where, [("filter_only", 0)])


def test_nan_in_a_later_arm_leaves_the_earlier_ones(ctx, copy, whole):
    """As if the rate had been fine for one arm: its rows and checkpoints stay untouched."""
    drop_rows(copy, lambda row: row["arm"] == "filter_only")
    checkpoint.remove(RunDir(copy).round_dir(RoundId(0, "boosting", 2)).checkpoint)
    learner = ctx.learner

    class Broken(LanguageLearner):
        def train(self, *args):
            return learner.train(*args)._replace(loss=float("nan"))

    broken = object.__new__(Broken)
    broken.__dict__ = learner.__dict__
    rows = [("filter_only", r) for r in range(3)] + [("boosting", 0)]
    where = "seed 0, arm boosting, round 1, stage train: .*not finite"
    fails_alike(replace(ctx, learner=broken), copy, where, rows)
    live(ctx, copy)
    assert outcome(ctx, copy) == whole[1]


def test_an_empty_training_set_says_where_and_keeps_the_last_good_state(ctx, tmp_path):
    optimizer = replace(OPTIMIZER, steps=1)
    config = replace(
        CONFIG,
        filter=FilterConfig(),
        arms=("filter_only",),
        seed_model=replace(CONFIG.seed_model, optimizer=optimizer),
    )
    where = "seed 0, arm filter_only, round 1, stage train: the training set is empty"
    fails_alike(replace(ctx, config=config), tmp_path, where, [("filter_only", 0)])


def test_a_seed_model_that_diverges_says_where(ctx, tmp_path):
    optimizer = replace(OPTIMIZER, learning_rate=1e38)
    config = replace(CONFIG, seed_model=replace(CONFIG.seed_model, optimizer=optimizer))
    with pytest.raises(BoostError, match=r"arm all, round 0, stage seed model: .*not finite"):
        live(replace(ctx, config=config), tmp_path)


# --- processes --------------------------------------------------------------------------------


def same_run(one, two):
    """Rows, ledger and the bits of the checkpoints' files of arrays, from outside."""
    assert rows_of(one) == rows_of(two)
    names = [p.relative_to(one) for p in stage_files(one)]
    assert names == [p.relative_to(two) for p in stage_files(two)]
    assert all((Path(one) / n).read_bytes() == (Path(two) / n).read_bytes() for n in names)


def test_a_changed_config_is_refused_naming_the_fields(tmp_path, capsys):
    RunDir(tmp_path).create(tiny_config())
    changed = as_options(tiny_config(rounds=3, seeds=2))
    assert main(["run", "--run-dir", str(tmp_path), *changed]) == 2
    said = capsys.readouterr().err
    assert "rounds: 2 -> 3" in said
    assert "seeds: 1 -> 2" in said


def test_ctrl_c_says_how_to_go_on_and_can_be_resumed(tmp_path):
    reference, _ = finished_run()
    arguments = ("run", "--run-dir", tmp_path / "run", *as_options(tiny_config()))
    with started(*arguments) as process:
        for line in process.stdout:
            if "round 1/2" in line:
                break
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert said.strip() == "boostlm: stopped. The same command continues from here"
    done = boostlm(*arguments)
    assert done.returncode == 0, done.stderr
    same_run(reference, tmp_path / "run")


def test_a_file_that_cannot_be_written_is_said_plainly_and_can_be_resumed(tmp_path):
    """A limit on the size of files, which no checkpoint fits under."""
    reference, _ = finished_run()
    arguments = ("run", "--run-dir", tmp_path / "run", *as_options(tiny_config()))
    with started(*arguments) as process:
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (3000, resource.RLIM_INFINITY))
        _, said = process.communicate(timeout=300)
    assert process.returncode == 2
    *warnings, said = said.splitlines()
    assert all(line.startswith("boostlm: warning: ") for line in warnings), warnings
    assert re.search(
        r"seed0/shared/round00/checkpoint could not be written: .*File too large", said
    )
    done = boostlm(*arguments)
    assert done.returncode == 0, done.stderr
    same_run(reference, tmp_path / "run")


def test_a_full_disk_is_said_plainly_and_can_be_resumed(tmp_path):
    reference, _ = finished_run()
    mount = ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", tmp_path]
    if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("only root may mount a small disk to fill")
    arguments = ("run", "--run-dir", tmp_path / "run", *as_options(tiny_config()))
    try:
        failed = boostlm(*arguments)
        assert failed.returncode == 2, failed.stdout
        assert len(failed.stderr.splitlines()) == 1, failed.stderr
        assert re.search(r"No space left on device.*run the same command again", failed.stderr)
        assert str(tmp_path) in failed.stderr
        subprocess.run(["mount", "-o", "remount,size=20m", tmp_path], check=True)
        done = boostlm(*arguments)
        assert done.returncode == 0, done.stderr
        same_run(reference, tmp_path / "run")
    finally:
        subprocess.run(["umount", tmp_path], check=True)
