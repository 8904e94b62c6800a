"""SIGTERM: a run leaves in time, loses nothing that was committed, and goes on to the same end."""

import io
import os
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
from etils import epath
from helpers import (
    as_options,
    bits,
    boostlm,
    finished_run,
    rows_of,
    started,
    tiny_config,
)

from boostlm.config import OptimizerConfig
from boostlm.functional.train_step import Batch
from boostlm.loop import preemption
from boostlm.loop.learner import LanguageLearner
from boostlm.loop.preemption import Preempted, check, watching
from boostlm.loop.progress import Progress
from boostlm.loop.run_dir import RunDir
from boostlm.loop.stages import Place
from boostlm.loop.unfinished import Unfinished
from boostlm.loop.workbench import build_workbench


def sigterm():
    os.kill(os.getpid(), signal.SIGTERM)


def test_a_long_stage_is_left_at_the_next_report_and_never_finished():
    progress, reports = Progress({"train": 1}, io.StringIO()), []

    def train():
        with Place(0, "boosting").stage(1, "train", progress) as within:
            for i in range(10):
                if i == 3:
                    sigterm()
                within(i, 10)
                reports.append(i)

    with watching(), pytest.raises(Preempted):
        train()
    assert reports == [0, 1, 2]
    assert progress.remaining() is None  # no stage counted as done


def test_no_stage_begins_after_sigterm():
    with watching():
        sigterm()
        with pytest.raises(Preempted), Place(0, "x").stage(0, "sample", Progress({"sample": 1})):
            pytest.fail("began")


def test_outside_the_block_everything_is_as_before():
    before = signal.getsignal(signal.SIGTERM)
    for _ in range(2):
        with watching():
            assert signal.getsignal(signal.SIGTERM) is not before
            check()
            sigterm()
            with pytest.raises(Preempted):
                check()
        check()
        assert signal.getsignal(signal.SIGTERM) is before
        assert signal.set_wakeup_fd(-1) == -1


def test_training_goes_on_at_the_step_it_was_cut_at_bit_for_bit(tmp_path):
    """On one device and on several."""
    whole = build_workbench(tiny_config(), RunDir(tmp_path / "bench")).learner
    optimizer = OptimizerConfig(steps=60, batch_size=8, warmup_steps=2)
    rng = np.random.default_rng(0)
    shape = (optimizer.steps * optimizer.batch_size, 16)
    rows = Batch(rng.integers(0, 20, shape, np.int32), np.ones(shape, np.float32))
    begin = whole.init(jax.random.key(0))
    for devices in (jax.devices()[:1], jax.devices()[:2]):
        learner = LanguageLearner(whole.model, whole.sampler.endings, 4, 8, devices)
        path = epath.Path(tmp_path / f"unfinished{len(devices)}")
        expected = learner.train(begin, rows, optimizer)
        steps = []

        def within(done, total, steps=steps):
            steps.append(done)
            check()
            if done == 20:
                sigterm()

        with watching(), pytest.raises(Preempted):
            learner.train(begin, rows, optimizer, within, unfinished=Unfinished(path))
        assert steps[-2:] == [20, 40]  # asked at the one, left at the other
        before = len(steps)
        got = learner.train(begin, rows, optimizer, within, unfinished=Unfinished(path))
        assert (steps[before], steps[-1]) == (41, 60)
        assert bits(got) == bits(expected)
        Unfinished(path).remove()
        assert not path.exists()


_STUCK = """
import hashlib, sys
from boostlm.loop.preemption import watching
with watching(grace_s=0.3):
    print("in", flush=True)
    hashlib.pbkdf2_hmac("sha256", b"", b"", 1 << 30)  # no signal handler of Python's runs in here
"""


def test_a_process_that_is_stuck_outside_python_leaves_when_its_grace_is_over():
    process = subprocess.Popen(
        [sys.executable, "-c", _STUCK], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout.readline() == "in\n"
        began = time.monotonic()
        process.terminate()
        _, err = process.communicate(timeout=60)
        assert 0.3 <= time.monotonic() - began < 20
    assert process.returncode == 75
    assert err == f"\nboostlm: {preemption.MESSAGE}\n"


def test_a_run_under_sigterm_goes_on_to_the_same_end(tmp_path):
    """One of the arms of the run that nothing interrupted."""
    expected = [row for row in rows_of(finished_run()[0]) if row["arm"] == "boosting"]
    options = as_options(tiny_config(arms=("boosting",)))
    arguments = ("run", "--run-dir", tmp_path / "run", *options)
    with started(*arguments) as process:
        for line in process.stdout:
            if "round 0/2" in line:
                break
        began = time.monotonic()
        process.terminate()
        _, err = process.communicate(timeout=60)
        assert time.monotonic() - began < 25
    assert (process.returncode, err) == (75, f"\nboostlm: {preemption.MESSAGE}\n")
    assert rows_of(tmp_path / "run") == expected[: len(rows_of(tmp_path / "run"))] != expected
    done = boostlm(*arguments)
    assert done.returncode == 0, done.stderr
    assert rows_of(tmp_path / "run") == expected
