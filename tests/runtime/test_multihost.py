"""Several hosts: two processes with four devices each do what one with eight does."""

import json
import signal
import sys
import textwrap
import time
from dataclasses import replace

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
from support.cli import call
from support.hosts import ended, on_hosts
from support.runs import (
    as_options,
    command,
    files_and_times,
    ledger_files,
    rows_of,
    tiny_config,
)

from boostlm.config import ComputeConfig, LabelConfig

pytestmark = pytest.mark.slow


def said_on_hosts(code):
    """What two processes print that run this code after they have joined."""
    start = "from boostlm.runtime.join_hosts import join_hosts; join_hosts(60)\n"
    words = [sys.executable, "-c", start + textwrap.dedent(code)]
    return ended(on_hosts(lambda index: words))


def config_of(mesh, arms, **label):
    config = tiny_config(
        arms=arms, compute=ComputeConfig(mesh=mesh), label=LabelConfig(budget=8, **label)
    )
    return replace(config, model=replace(config.model, heads=8)) if mesh == "1x8" else config


def saved(root, arm):
    """Its parameters as numpy arrays, whichever devices they lay on."""
    path = root / "rounds" / "seed0" / arm / "round02" / "checkpoint"
    reader = ocp.PyTreeCheckpointer()
    tree = reader.metadata(path).item_metadata.tree
    as_numpy = jax.tree.map(lambda x: ocp.RestoreArgs(restore_type=np.ndarray), tree)
    return reader.restore(path, restore_args=as_numpy)


@pytest.mark.parametrize(
    ("mesh", "arms", "labeler", "preempted"),
    [
        ("replicate", ("boosting",), "simulated", False),
        ("8x1", ("boosting",), "frozen_model", True),
        ("1x8", ("boosting",), "frozen_model", True),  # one model on all devices of both hosts
    ],
)
def test_two_hosts_do_what_one_does(mesh, arms, labeler, preempted, tmp_path, capsys):
    """Also when SIGTERM comes to one of them on the way. What they committed they do not redo."""
    options = ["run", *as_options(config_of(mesh, arms, labeler=labeler))]
    status, _, err = call(capsys, *options, "--run-dir", tmp_path / "one")  # here are 8 devices
    assert status == 0, err

    def start():
        return on_hosts(lambda index: command(*options, "--run-dir", tmp_path / "two"))

    if preempted:
        sigterm_one_of(start(), tmp_path / "two")
    before = files_and_times(tmp_path / "two" / "rounds" / "seed0" / "shared")
    assert preempted == bool(before)
    two = ended(start())
    for status, _, err in two:
        assert status == 0, err
    assert "8 cpu devices" in two[0][1]
    assert "round 2/2" in two[0][1]
    assert "round 2/2" not in two[1][1]  # one of them tells
    same_run(tmp_path / "one", tmp_path / "two", arms)

    after = files_and_times(tmp_path / "two" / "rounds" / "seed0" / "shared")
    assert {name: after[name] for name in before} == before


def sigterm_one_of(processes, root):
    round01 = root / "rounds" / "seed0" / "boosting" / "round01"
    while len(list(round01.glob("samples.*-of-24.npz"))) < 2:
        assert all(process.poll() is None for process in processes)
        time.sleep(0.02)
    processes[1].send_signal(signal.SIGTERM)
    for status, _, err in ended(processes, timeout=60):
        assert status == 75, err
        assert "the same command continues" in err
    assert len(rows_of(root)) < 3  # a row a round, from round 0


def same_run(one, two, arms):
    for a, b in zip(rows_of(one), rows_of(two), strict=True):
        for name in a:
            np.testing.assert_equal(_rounded(b[name]), _rounded(a[name]), err_msg=name)
    for arm in arms:
        want, got = saved(one, arm), saved(two, arm)
        # A model that spans hosts is summed up in another order.
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), want, got)
    ledgers = [p.relative_to(one) for p in ledger_files(one)]
    assert ledgers
    for name in ledgers:
        assert (one / name).read_bytes() == (two / name).read_bytes()


def _rounded(value):
    """To what sums in another order leave alike."""
    return json.loads(json.dumps(value), parse_float=lambda x: round(float(x), 4))


def test_errors_shares_and_agreement():
    told = said_on_hosts(
        """
        import sys
        import jax, numpy as np
        from boostlm.errors import BoostError, WaitingForPeople
        from boostlm.runtime import multihost
        from boostlm.runtime import preemption
        me = jax.process_index()

        def say(*words):  # not where JAX tells how it connects CPUs
            print(">", *words, file=sys.stderr)

        def attempt(call):
            try:
                value = call()
                say(jax.tree.map(lambda x: x.tolist() if hasattr(x, "tolist") else x, value))
            except BaseException as error:
                say(type(error).__name__, error, getattr(error, "queries", ""))

        def fail(message, who):
            if me == who:
                raise BoostError(message)
            return np.zeros(1)

        def wait():
            raise WaitingForPeople("wait", ["a"])

        def on_host0_now(function):
            return multihost.on_host0(function)()

        attempt(lambda: on_host0_now(lambda: me))
        attempt(lambda: on_host0_now(lambda: fail("full", 0)))
        attempt(lambda: on_host0_now(wait))
        attempt(lambda: on_host0_now(lambda: on_host0_now(lambda: "nested")))
        attempt(lambda: multihost.gather_shards(5, lambda i: {"n": i, "by": 0 * i + me}))
        attempt(lambda: multihost.gather_shards(1, lambda i: i + 7))
        attempt(lambda: multihost.gather_shards(2, lambda i: fail("broken", 1)))
        attempt(lambda: multihost.gather_shards(2, lambda i: 1 // me))
        attempt(lambda: multihost.assert_same_on_hosts("config", "alike"))
        attempt(lambda: multihost.assert_same_on_hosts("config", str(me)))
        attempt(lambda: list(multihost.iterate_on_host0(iter([3, 4] if me == 0 else [5]))))
        if me == 1:
            preemption.sigterm.set()
        attempt(multihost.raise_if_preempted)
        """
    )
    for status, _, err in told:
        assert status == 0, err
        out = "".join(line[2:] for line in err.splitlines(True) if line.startswith("> "))
        assert out == textwrap.dedent(
            """\
            0
            BoostError full\x20
            WaitingForPeople wait ('a',)
            nested
            {'by': [0, 1, 0, 1, 0], 'n': [0, 1, 2, 3, 4]}
            [7]
            BoostError broken\x20
            ZeroDivisionError integer division or modulo by zero\x20
            None
            BoostError the hosts differ in their config: worker 1 from worker 0. Set up all of them in the same way (tpu_scripts/setup.sh)\x20
            [3, 4]
            Preempted preempted (SIGTERM). What was committed is kept: the same command continues from here\x20
            """
        )


def test_what_two_hosts_refuse(tmp_path):
    own = ended(on_hosts(lambda index: command("run", "--run-dir", f"host{index}"), cwd=tmp_path))
    for index, (status, _, err) in enumerate(own):
        assert status == 2
        assert f"host{index} is not the same folder on all hosts" in err
    other = ended(
        on_hosts(lambda index: command("run", "--run-dir", tmp_path / "r", "--rounds", 1 + index))
    )
    for status, _, err in other:
        assert status == 2
        assert "the hosts differ in their config: worker 1 from worker 0" in err


def test_only_the_first_host_asks_people(tmp_path):
    config = replace(config_of("replicate", ("boosting",), labeler="people"), rounds=1)
    options = ["run", *as_options(config), "--run-dir", tmp_path / "run"]
    for status, _, err in ended(on_hosts(lambda index: command(*options))):
        assert status == 3
        assert "8 answers to 8 prompts are needed" in err
    queue = tmp_path / "run" / "people" / "queue.jsonl"
    assert len(queue.read_text().splitlines()) == 8
