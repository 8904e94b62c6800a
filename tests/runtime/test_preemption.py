"""SIGTERM: a run leaves in time, loses nothing that was committed, and goes on to the same end."""

import os
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
from etils import epath
from support.runs import (
    as_options,
    bits,
    boostlm,
    finished_run,
    given_rows,
    on_one_device,
    rows_of,
    started,
    tiny_config,
)

from boostlm.config import OptimizerConfig, SampleConfig
from boostlm.engine.learner import LanguageLearner
from boostlm.experiment.context import make_context
from boostlm.lm.token_sampling import SamplingParams
from boostlm.lm.train_step import Batch
from boostlm.runtime import preemption
from boostlm.runtime.preemption import Preempted, watching
from boostlm.storage.partial_stages import PartialSamples, PartialTraining
from boostlm.storage.run_dir import RunDir
from boostlm.storage.stage_parts import Part

pytestmark = pytest.mark.slow


def sigterm():
    os.kill(os.getpid(), signal.SIGTERM)


def test_outside_the_block_everything_is_as_before():
    before = signal.getsignal(signal.SIGTERM)
    for _ in range(2):
        with watching():
            assert signal.getsignal(signal.SIGTERM) is not before
            assert not preemption.sigterm.is_set()
            sigterm()
            assert preemption.sigterm.is_set()
        assert not preemption.sigterm.is_set()
        assert signal.getsignal(signal.SIGTERM) is before
        assert signal.set_wakeup_fd(-1) == -1


def test_training_goes_on_at_the_step_it_was_cut_at_bit_for_bit(tmp_path):
    """On one device and on several."""
    whole = make_context(tiny_config(), RunDir(tmp_path / "ctx")).learner
    optimizer = OptimizerConfig(steps=60, batch_size=8, warmup_steps=2)
    rng = np.random.default_rng(0)
    shape = (optimizer.steps * optimizer.batch_size, 16)
    rows = given_rows(Batch(rng.integers(0, 20, shape, np.int32), np.ones(shape, np.float32)))
    begin = whole.init(jax.random.key(0))
    for devices in (jax.devices()[:1], jax.devices()[:2]):
        learner = LanguageLearner(whole.model, whole.sampler.stop_sequences, 4, 8, devices)
        path = epath.Path(tmp_path / f"unfinished{len(devices)}")
        expected = learner.train(begin, rows, optimizer)
        steps = []

        def within(done, total, steps=steps):
            steps.append(done)
            if done == 20:
                sigterm()

        with watching(), pytest.raises(Preempted):
            learner.train(begin, rows, optimizer, within, partial=PartialTraining(path))
        assert steps[-2:] == [20, 40]  # asked at the one, left at the other
        before = len(steps)
        got = learner.train(begin, rows, optimizer, within, partial=PartialTraining(path))
        assert (steps[before], steps[-1]) == (41, 60)
        assert bits(got) == bits(expected)
        PartialTraining(path).remove()
        assert not path.exists()


def test_sampling_goes_on_with_the_prompts_that_are_left(tmp_path):
    config = tiny_config(sample=SampleConfig(k=2, batch_size=4))
    ctx = on_one_device(make_context(config, RunDir(tmp_path / "ctx")))
    params = ctx.learner.init(jax.random.key(0)).params
    unfinished = PartialSamples(epath.Path(tmp_path / "unfinished.npz"), Part(0, 24, 24))
    seen = []

    def sample(within, *kept):
        return ctx.sample(
            params, ctx.train_prompts, jax.random.key(1), SamplingParams(), 2, within, *kept
        )

    def within(done, total):
        seen.append((done, total))
        if len(seen) == 4:
            sigterm()

    expected = sample(lambda done, total: None)
    with watching(), pytest.raises(Preempted):
        sample(within, unfinished)
    done, total = seen[-1]
    assert 0 < done < total == 24
    got = sample(within, unfinished)
    assert seen[-1] == (24 - done, 24 - done)
    for want, have in zip(expected[:3], got[:3], strict=True):
        np.testing.assert_array_equal(want, have)
    np.testing.assert_allclose(got.logprob_BxKxR, expected.logprob_BxKxR, atol=1e-5)
    unfinished.remove()
    assert unfinished.load()[0] is None
    with watching():
        sigterm()
        with pytest.raises(Preempted):
            sample(lambda done, total: pytest.fail("decoded after SIGTERM"))


_STUCK = """
import hashlib, sys
from boostlm.runtime.preemption import watching
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
