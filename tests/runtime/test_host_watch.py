"""A host that waits says for whom and for what, again and again; one that is silent is named."""

import subprocess
import sys
import textwrap
import time

import pytest
from support.runs import REPOSITORY, environment

from boostlm.runtime.host_watch import QUIET_S, REPEAT_S, SILENT_S, Board, HostWatch, _clock


class World:
    """Hosts that share a board and a clock; `said[i]` is what host i says, with the time."""

    def __init__(self, count):
        self.now, self.texts, self.fails = 1000.0, {}, False
        self.said = [[] for _ in range(count)]
        board = Board(self.put, lambda: dict(self.texts))
        self.hosts = [
            HostWatch(i, count, board, self.say(i), lambda: self.now) for i in range(count)
        ]
        self.blocks = [[] for _ in range(count)]

    def put(self, host, text):
        if self.fails:
            raise RuntimeError("UNAVAILABLE")
        self.texts[host] = text

    def say(self, host):
        return lambda text: self.said[host].append((self.now - 1000, text))

    def enter(self, host, block):
        block.__enter__()
        self.blocks[host].append(block)

    def leave(self, host):
        self.blocks[host].pop().__exit__(None, None, None)

    def wait(self, host):
        self.enter(host, self.hosts[host].meeting())

    def work(self, host, what):
        self.enter(host, self.hosts[host].detail(what))

    def run(self, seconds, dead=()):
        """Beats every 5 s of all hosts but the dead ones."""
        for _ in range(int(seconds / 5)):
            self.now += 5
            for i, host in enumerate(self.hosts):
                if i not in dead:
                    host.beat()

    def lines(self, host):
        return [text for _, text in self.said[host]]


@pytest.mark.parametrize(
    ("count", "late", "names"),
    [
        (2, [1], "worker 1 (at the verifier)"),
        (2, [0], "worker 0 (at the verifier)"),
        (3, [1], "worker 1 (at the verifier)"),
        (3, [0, 2], "worker 0 (at the verifier) and worker 2 (at the verifier)"),
        (8, [5], "worker 5 (at the verifier)"),
        (4, [1, 2, 3], "worker 1 (at the verifier) and worker 2 (at the verifier) and worker 3 (at the verifier)"),
    ],
)  # fmt: skip
def test_who_is_waited_for_and_what_it_does(count, late, names):
    world = World(count)
    for i in range(count):
        world.work(i, "the verifier") if i in late else world.wait(i)
    world.run(120)
    for i in range(count):
        said = [] if i in late else [(QUIET_S, f"has waited 1:00 min for {names}")]
        assert world.said[i] == said


@pytest.mark.parametrize("minutes", [1, 5, 6, 10, 11, 30, 60])
def test_it_is_said_again_and_again(minutes):
    world = World(2)
    world.work(1, "the verifier")
    world.wait(0)
    world.run(60 * minutes)
    due = [QUIET_S + REPEAT_S * i for i in range(100) if QUIET_S + REPEAT_S * i <= 60 * minutes]
    assert [at for at, _ in world.said[0]] == due
    assert world.lines(0)[-1].startswith(f"has waited {_clock(due[-1])} for worker 1")


@pytest.mark.parametrize("seconds", [0, 5, 30, 55])
def test_a_short_wait_is_no_news(seconds):
    world = World(2)
    for _ in range(20):
        world.work(1, "the verifier")
        world.wait(0)
        world.run(seconds)
        world.leave(1)
        world.wait(1)
        world.leave(0)
        world.leave(1)
        world.run(5)
    assert world.said == [[], []]


def test_the_stage_is_named_with_the_work():
    world = World(2)
    for host in world.hosts:
        host.at("seed 0 · boosting · round 1/5 · train")
    world.wait(0)
    world.run(60)
    stage = "seed 0 · boosting · round 1/5 · train"
    assert world.lines(0) == [f"has waited 1:00 min for worker 1 (at {stage})"]
    world.work(1, "the verifier")
    world.run(300)
    assert world.lines(0)[1] == f"has waited 6:00 min for worker 1 (at {stage}: the verifier)"
    world.leave(1)
    world.run(300)
    assert world.lines(0)[2] == f"has waited 11:00 min for worker 1 (at {stage})"


def test_each_wait_counts_from_its_own_start():
    world = World(2)
    world.wait(0)
    world.run(50)
    world.wait(1)
    world.leave(0)
    world.leave(1)
    world.run(500)  # both at work
    world.wait(0)
    world.run(55)
    assert world.said == [[], []]
    world.run(5)
    assert world.lines(0) == ["has waited 1:00 min for worker 1"]


def test_all_that_have_come_are_not_named():
    """The collective itself may take long, as where it is compiled: nobody is late then."""
    world = World(3)
    for i in range(3):
        world.wait(i)
    world.run(600)
    assert world.said == [[], [], []]


@pytest.mark.parametrize("dead", [0, 1, 2])
@pytest.mark.parametrize("waiting", [True, False])
def test_a_host_without_a_sign_of_life_is_named_once(dead, waiting):
    world = World(3)
    world.run(10)
    for i in set(range(3)) - {dead}:
        if waiting:
            world.wait(i)
    world.run(50, dead=[dead])
    for i in set(range(3)) - {dead}:
        [(at, text)] = world.said[i]
        assert at in (10 + SILENT_S, 15 + SILENT_S)  # whichever of them beats first
        assert f"has had no sign of life from worker {dead} for 30 s" in text
        assert "start the same command on all hosts again" in text
    world.run(600, dead=[dead])  # it is not said to be late as well
    assert [len(lines) for lines in world.said] == [i != dead for i in range(3)]
    world.run(10)
    for i in set(range(3)) - {dead}:
        assert world.lines(i)[1:2] == [f"hears from worker {dead} again"]


def test_each_silent_host_is_named_once():
    world = World(4)
    world.run(10)
    world.run(60, dead=[1, 3])
    assert ["from worker 1, 3 for" in text for text in world.lines(0)] == [True]
    named = [text.split(" for ")[0][-8:] for text in world.lines(2)]
    assert named == ["worker 1", "worker 3"]


def test_a_host_that_never_posted_is_late_but_not_gone():
    world = World(2)
    world.wait(0)
    world.run(60, dead=[1])
    assert world.lines(0) == ["has waited 1:00 min for worker 1"]


def test_a_board_that_does_not_answer_is_a_sign_of_worker_0_alone():
    world = World(3)
    world.run(10)
    world.fails = True
    world.run(60)
    assert world.said[0] == []
    for i in (1, 2):
        [(at, text)] = world.said[i]
        assert at in (10 + SILENT_S, 15 + SILENT_S)
        assert "no sign of life from worker 0 for" in text
    world.fails = False
    world.run(10)
    assert world.lines(1)[1:] == ["hears from worker 0 again"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0:00 min"), (59.9, "0:59 min"), (60, "1:00 min"), (3601, "60:01 min")],
)
def test_the_time_in_words(seconds, text):
    assert _clock(seconds) == text


_HOSTS = """
import os, signal, sys, time
from boostlm.runtime import host_watch
host_watch.QUIET_S, host_watch.REPEAT_S, host_watch.SILENT_S, host_watch.BEAT_S = 1, 1, 2, 0.2
from boostlm.runtime.join_hosts import join_hosts
join_hosts(60)
import jax
from boostlm.runtime import multihost
me = jax.process_index()
multihost.all_max([1.0])

def verify(rows):
    if me == 1:
        time.sleep(4)
    return rows

assert multihost.gather_shards(4, verify, "the verifier").tolist() == [0, 1, 2, 3]
print("took part", me, file=sys.stderr, flush=True)
if me == 1:
    os.kill(os.getpid(), signal.SIGKILL)
try:
    multihost.all_max([1.0])
except multihost.BoostError as error:
    print("lost:", error, file=sys.stderr, flush=True)
"""


@pytest.mark.slow
def test_two_processes_one_stuck_in_its_verifier_and_then_killed():
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    joined = {"JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{port}", "JAX_NUM_PROCESSES": "2"}
    running = [
        subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(_HOSTS)],
            env=environment() | joined | {"JAX_PROCESS_ID": str(i)},
            stderr=subprocess.PIPE,
            text=True,
            cwd=REPOSITORY,
        )
        for i in range(2)
    ]
    said, began = [], time.monotonic()
    try:
        for line in running[0].stderr:
            said.append(line.strip())
            if "no sign of life" in line or time.monotonic() - began > 60:
                break
    finally:
        for process in running:
            process.kill()
            process.communicate()
    ours = [line for line in said if line.startswith(("boostlm: ", "took part", "lost: "))]
    waited = [line for line in ours if "has waited" in line]
    assert ours[: len(waited)] == waited
    assert len(waited) >= 2
    assert all(line.startswith("boostlm: worker 0 has waited 0:0") for line in waited)
    assert all(line.endswith(" min for worker 1 (at the verifier)") for line in waited)
    took_part, *lost, gone = ours[len(waited) :]
    assert took_part == "took part 0"
    assert not any("Traceback" in line for line in said)
    # A collective of CPUs fails, or waits, as that of TPUs does.
    assert all(line.startswith("lost: worker 0 lost another host (") for line in lost)
    assert gone.startswith("boostlm: worker 0 has had no sign of life from worker 1 for 2 s.")
    assert running[1].returncode == -9
