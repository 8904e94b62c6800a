"""A program that only waits is ended early; an honest one is not, however busy the machine is."""

import time

import pytest
from support.sandbox_kit import need_sandbox

from boostlm.sandbox import Job, Limits, Outcome, Sandbox, wire, zygote

WAITS = {
    "empty pipe": "import os\nr, w = os.pipe()\nos.read(r, 1)",
    "full pipe": "import os\nr, w = os.pipe()\nwhile True: os.write(w, b'x' * 4096)",
    "sleep": "import time\ntime.sleep(100)",
    "short sleeps": "import time\nwhile True: time.sleep(0.05)",
    "pause": "import signal\nsignal.pause()",
    "blocked signals": "import signal\nsignal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())\nsignal.sigwait([signal.SIGUSR1])",
    "signal with a time": "import signal\nsignal.sigtimedwait([signal.SIGUSR1], 100)",
    "stopped": "import os, signal, time\nos.kill(0, signal.SIGSTOP)\ntime.sleep(100)",
    "select": "import select\nselect.select([], [], [], 100)",
    "poll": "import select\nselect.poll().poll()",
    "epoll": "import select\nselect.epoll().poll()",
    "lock": "import threading\nl = threading.Lock()\nl.acquire()\nl.acquire()",
    "lock with a time": "import threading\nl = threading.Lock()\nl.acquire()\nl.acquire(timeout=100)",
    "two locks": "import threading, time\na, b = threading.Lock(), threading.Lock()\n"
    "def g(x, y):\n    with x:\n        time.sleep(0.1)\n        with y: pass\n"
    "t = threading.Thread(target=g, args=(a, b))\nt.start()\ng(b, a)",
    "event": "import threading\nthreading.Event().wait()",
    "condition": "import threading\nc = threading.Condition()\nwith c: c.wait()",
    "barrier": "import threading\nthreading.Barrier(2).wait()",
    "semaphore": "import threading\nthreading.Semaphore(0).acquire()",
    "join": "import threading, time\nt = threading.Thread(target=time.sleep, args=(100,))\nt.start()\nt.join()",
    "queue": "import queue\nqueue.Queue().get()",
    "queue, asked again": "import queue\nq = queue.Queue()\nwhile True:\n    try: q.get(timeout=0.1)\n    except queue.Empty: pass",
    "future": "from concurrent.futures import Future\nFuture().result()",
    "pool": "from concurrent.futures import ThreadPoolExecutor as P\nimport time\nwith P() as p: list(p.map(time.sleep, [100] * 9))",
    "asyncio sleep": "import asyncio\nasyncio.run(asyncio.sleep(100))",
    "asyncio event": "import asyncio\nasync def g(): await asyncio.Event().wait()\nasyncio.run(g())",
    "work, then sleep": "import time\nwhile time.process_time() < 0.05: pass\ntime.sleep(100)",
    "in the call": "import time\ndef f(): time.sleep(100)",
    "threads beside a sleeper": "import threading, time\n[threading.Thread(target=time.sleep, args=(100,)).start() for _ in range(20)]\ntime.sleep(100)",
}  # fmt: skip


@pytest.fixture(scope="module")
def outcomes():
    need_sandbox()
    jobs = [Job(f"{code}\n" if "def f" in code else f"{code}\ndef f(): return 0", "", ("f()",)) for code in WAITS.values()]  # fmt: skip
    start = time.monotonic()
    with Sandbox(workers=7, wait_seconds=1.0) as sandbox:
        found = sandbox.check_many(jobs)
    return dict(zip(WAITS, found)) | {"seconds": time.monotonic() - start}


@pytest.mark.slow
@pytest.mark.parametrize("name", WAITS)
def test_a_program_that_waits_is_ended_early(outcomes, name):
    assert outcomes[name] == Outcome("timeout", (), "waited for 1.0 s")


@pytest.mark.slow
def test_waiting_programs_hold_their_workers_for_seconds(outcomes):
    assert outcomes["seconds"] < 60  # they would take 480 s of wall time each to the wall limit


class Clocks:
    """A machine's time, in which a check gets the `share` of a core for `seconds` of work."""

    def __init__(self, monkeypatch, share, work):
        self.now, self.cpu, self.share, self.work = 1000.0, 0.0, share, work
        monkeypatch.setattr(zygote.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(zygote.time, "clock_gettime", lambda _: self.cpu)

    def run(self, watch, sleep=lambda asked: asked):
        """How the check ends, and after how many seconds."""
        start = self.now
        while self.cpu < self.work:
            how, asked = watch.over()
            if how != wire.ENDED:
                return how, self.now - start
            step = sleep(asked)
            self.now += step
            self.cpu += step * self.share
        return wire.ENDED, self.now - start


LIMITS = {"cpu_seconds": 10.0, "wall_seconds": 120.0, "wait_seconds": 10.0}


@pytest.mark.parametrize(
    ("share", "work", "due", "seconds"),
    [
        (1.0, 1.0, wire.ENDED, 1.5),  # alone on a core
        (1.0, 9.9, wire.ENDED, 10.5),
        (1.0, 11.0, wire.OVER_CPU, 10.1),
        (4.0, 11.0, wire.OVER_CPU, 3.1),  # several threads
        (1 / 3, 5.0, wire.ENDED, 16),  # two cores, six processes
        (1 / 8, 9.9, wire.ENDED, 80),
        (1 / 16, 7.0, wire.ENDED, 113),
        (1 / 40, 2.9, wire.ENDED, 117),
        (1 / 60, 0.5, wire.ENDED, 31),  # worse than foreseen, and still not ended early
        (1 / 100, 0.15, wire.ENDED, 16),
        (1 / 40, 4.0, wire.OVER_WALL, 120.1),
        (0.0, 1.0, wire.OVER_WAIT, 10.1),  # waits
        (1 / 1000, 1.0, wire.OVER_WAIT, 11.1),  # wakes up now and then
        (1 / 200, 1.0, wire.OVER_WAIT, 14.1),
    ],
)
def test_the_time_limits_on_a_busy_machine(monkeypatch, share, work, due, seconds):
    clocks = Clocks(monkeypatch, share, work)
    how, took = clocks.run(zygote._Watch(1, LIMITS))
    assert how == due
    assert took <= seconds


@pytest.mark.parametrize("delay", [3.0, 20.0, 60.0])
def test_time_in_which_the_watcher_cannot_run_is_not_counted(monkeypatch, delay):
    """A machine that stands still, such as one that is suspended or swaps, ends no check."""
    clocks = Clocks(monkeypatch, 0.0, 1.0)
    how, took = clocks.run(zygote._Watch(1, LIMITS), lambda asked: delay)
    assert how == (wire.OVER_WAIT if delay < 20 else wire.OVER_WALL)
    assert took >= 30


def test_the_watcher_looks_often(monkeypatch):
    """With threads a check can use its CPU time on many cores at once."""
    Clocks(monkeypatch, 1.0, 1.0)
    assert zygote._Watch(1, LIMITS).over() == (wire.ENDED, 0.5)


@pytest.mark.slow
@pytest.mark.parametrize("pauses", [[0.7], [0.1] * 7, [0.3, 0.3]])
def test_a_program_that_sleeps_a_little_passes(pauses):
    need_sandbox()
    code = f"import time\ndef f():\n    for s in {pauses}: time.sleep(s)\n    return 1"
    with Sandbox(workers=1, wait_seconds=2.0) as sandbox:
        assert sandbox.check_many([Job(code, "", ("f()",))]) == [Outcome("ok", (1,))]


def test_the_limit_is_a_few_seconds():
    assert 5 <= Limits().wait_seconds <= 15 < Limits().wall_seconds
