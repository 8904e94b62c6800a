"""Runs that stop with an error or by a signal say where, and can be resumed."""

import os
import re
import resource
import signal
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from support.lives import CONFIG, drop_rows, files_below, live, outcome
from support.runs import (
    OPTIMIZER,
    as_options,
    boostlm,
    finished_run,
    rows_of,
    stage_files,
    started,
    tiny_config,
)

from boostlm.cli.main import main
from boostlm.config import FilterConfig
from boostlm.engine.learner import LanguageLearner
from boostlm.errors import BoostError
from boostlm.storage import checkpoint
from boostlm.storage.run_dir import RoundId, RunDir

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("small_chunks")]


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
    fails_alike(replace(ctx, config=config), tmp_path, where, [("filter_only", 0), ("boosting", 0)])


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


def same_run(one, two):
    """Rows, ledger and the bits of the checkpoints' files of arrays, from outside."""
    assert rows_of(one) == rows_of(two)
    names = [p.relative_to(one) for p in stage_files(one)]
    assert names == [p.relative_to(two) for p in stage_files(two)]
    assert all((Path(one) / n).read_bytes() == (Path(two) / n).read_bytes() for n in names)


def test_a_changed_config_is_refused_naming_the_fields(tmp_path, capsys):
    RunDir(tmp_path).create(tiny_config())
    changed = as_options(tiny_config(rounds=1, keep_checkpoints=3))
    assert main(["run", "--run-dir", str(tmp_path), *changed]) == 2
    said = capsys.readouterr().err
    assert "rounds: 2 -> 1" in said
    assert "keep_checkpoints: 2 -> 3" in said


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
