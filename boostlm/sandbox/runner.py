"""A pool of sandboxed processes that runs many checks and returns their outcomes in order."""

import itertools
import os
import select
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from boostlm.errors import BoostError
from boostlm.sandbox.jobs import Job, Limits, Outcome, SandboxError
from boostlm.sandbox.packages import locate
from boostlm.sandbox.probe import require_sandbox
from boostlm.sandbox.worker import Lost, Worker

RECYCLE_AFTER = 1000  # checks before a forking process is replaced
_ATTEMPTS = 3  # failures of one job, or of starting, before the sandbox counts as broken
_tokens = itertools.count()


class Sandbox:
    """Runs untrusted Python code. It is a context manager. Threads that share one take turns.

    Example:
      with Sandbox(workers=2, cpu_seconds=5.0) as sandbox:
          outcomes = sandbox.check_many([Job("def f(x): return x + 1", calls=("f(1)",))])
    """

    def __init__(
        self, workers: int | None = None, packages: Sequence[str] = (), **limits: Any
    ) -> None:
        """Stores the settings. It starts no process.

        Args:
          workers: the number of concurrent checks; None: the number of cores of this process.
          packages: installed packages that programs may import, by pip's names, with those that
            they need. They are imported before the first check, outside a check's confinement.
          **limits: fields of `Limits`, with its defaults and units.

        Raises:
          BoostError: a limit or the number of workers is not a positive number, or a package is
            not installed.
        """
        self.limits = Limits(**limits)
        self.packages = locate(packages)
        self.workers = workers
        if workers is not None and (type(workers) is not int or workers < 1):
            raise BoostError(f"sandbox workers: {workers!r} is not a positive whole number")
        self.label = f"boostlm-sandbox-{os.getpid()}-{next(_tokens)}"
        self._bwrap = ""
        self._pool: list[Worker] = []
        self._trusted: dict[Job, Outcome] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> "Sandbox":
        """Checks that the sandbox works on this machine and starts the workers.

        Raises:
          SandboxError: it does not work. The message says what was tried and what to install.
        """
        if self._pool:
            raise BoostError("the sandbox is already running")
        self._bwrap = require_sandbox()
        if self.workers is None:
            self.workers = len(os.sched_getaffinity(0))
        self._pool = [self._start() for _ in range(self.workers)]
        return self

    def __exit__(self, *_: object) -> None:
        """Stops all workers."""
        pool, self._pool = self._pool, []
        for worker in pool:
            worker.stop()

    def check_many(self, jobs: Iterable[Job]) -> list[Outcome]:
        """The outcome of each job, in the order of the jobs.

        Each job runs in its own process, and all start from the same state. An outcome therefore
        does not depend on the other jobs, their order or their number.

        Raises:
          SandboxError: the sandbox itself failed repeatedly. This says nothing about the jobs.
        """
        with self._lock:
            return self._run(self._running_pool(), list(jobs))

    def evaluate_trusted(self, jobs: Sequence[Job]) -> list[Outcome]:
        """Runs trusted jobs like `check_many`, in a process that has never run a candidate.

        Outcomes are cached.
        """
        with self._lock:
            self._running_pool()
            new = [job for job in dict.fromkeys(jobs) if job not in self._trusted]
            if new:
                pool = [self._start()]
                try:
                    self._trusted.update(zip(new, self._run(pool, new)))
                finally:
                    pool[0].stop()
            return [self._trusted[job] for job in jobs]

    def _running_pool(self) -> list[Worker]:
        if not self._pool:
            raise BoostError("the sandbox is not running: use `with Sandbox(...) as sandbox:`")
        return self._pool

    def _start(self) -> Worker:
        return Worker(self._bwrap, self.limits, self.label, self.packages)

    def _run(self, pool: list[Worker], jobs: list[Job]) -> list[Outcome]:
        outcomes: list[Outcome | None] = [None] * len(jobs)
        waiting = deque(range(len(jobs)))
        failures = [0] * (len(jobs) + 1)  # per job; the last entry counts failed starts
        unfinished = len(jobs)
        try:
            while unfinished:
                for slot, worker in enumerate(pool):
                    if worker.free and waiting:
                        number = waiting.popleft()
                        self._guard(
                            pool, slot, waiting, failures, worker.send, number, jobs[number]
                        )
                for slot in _readable(pool):
                    worker = pool[slot]
                    number = worker.job
                    outcome = self._guard(pool, slot, waiting, failures, worker.receive)
                    if outcome is not None and number is not None:
                        outcomes[number] = outcome
                        unfinished -= 1
                        if worker.suspect or worker.served >= RECYCLE_AFTER:
                            self._replace(pool, slot)
                for slot, worker in enumerate(pool):
                    self._guard(pool, slot, waiting, failures, worker.check_deadline)
        except BaseException:
            for slot, worker in enumerate(pool):  # leave no job of this call running
                if worker.job is not None:
                    self._replace(pool, slot)
            raise
        return [outcome for outcome in outcomes if outcome is not None]

    def _guard(
        self,
        pool: list[Worker],
        slot: int,
        waiting: deque[int],
        failures: list[int],
        action: Callable[..., Outcome | None],
        *arguments: Any,
    ) -> Outcome | None:
        """Calls `action`. If its worker is lost, replaces the worker and requeues its job."""
        try:
            return action(*arguments)
        except Lost as e:
            number = pool[slot].job
            self._replace(pool, slot)
            if number is not None:
                waiting.appendleft(number)
            place = -1 if number is None else number
            failures[place] += 1
            if failures[place] == _ATTEMPTS:
                raise SandboxError(f"the sandbox failed {_ATTEMPTS} times: {e}") from None
            return None

    def _replace(self, pool: list[Worker], slot: int) -> None:
        pool[slot].stop()
        pool[slot] = self._start()


def _readable(pool: list[Worker]) -> list[int]:
    """The slots of the workers with data to read. Waits up to a second for one."""
    poll = select.poll()
    slots = {}
    for slot, worker in enumerate(pool):
        if not worker.free:
            poll.register(worker.fd, select.POLLIN)
            slots[worker.fd] = slot
    return [slots[fd] for fd, _ in poll.poll(1000)] if slots else []
