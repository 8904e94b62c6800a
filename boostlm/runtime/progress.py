"""Says what is happening and how long it will take."""

import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

import jax

from boostlm.runtime import preemption
from boostlm.runtime.host_watch import watch
from boostlm.runtime.multihost import all_max


def clock(seconds: float) -> str:
    """Seconds as m:ss, or h:mm:ss."""
    minutes, rest = divmod(int(seconds + 0.5), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


class Progress:
    """A live line on a terminal; on anything else, a line for each finished round.

    What is left is estimated from how long each kind of stage took so far in this process, so it
    needs no calibration and settles after the first round.
    """

    def __init__(self, planned: dict[str, int], out: TextIO = sys.stdout) -> None:
        """`planned`: how many times each kind of stage will run."""
        self._left = dict(planned)
        self._times: dict[str, list[float]] = {kind: [] for kind in planned}
        self._started = time.monotonic()
        self._out = out
        self._live = out.isatty()
        self._where = ""
        self._kind = ""
        self._stage_started = 0.0
        self._shown = 0.0

    def at(self, where: str) -> None:
        """Which seed, arm and round the next stages belong to."""
        self._where = where

    @contextmanager
    def stage(self, kind: str) -> Iterator[Callable[[int, int], None]]:
        """Times a stage; gives a function that is called as (done, total) within it."""
        self._kind, self._stage_started = kind, time.monotonic()
        if jax.process_count() > 1:
            watch().at(f"{self._where} · {kind}")
        self._show(f"{self._where} · {kind}")
        yield self._within
        self._times[kind].append(time.monotonic() - self._stage_started)
        self._left[kind] = max(0, self._left[kind] - 1)

    def skip(self, kind: str, times: int = 1) -> None:
        """Says that an earlier process did a stage."""
        self._left[kind] = max(0, self._left[kind] - times)

    def say(self, text: str) -> None:
        """A line that stays."""
        if self._live:
            self._out.write("\r\x1b[K")
        self._out.write(text + "\n")
        self._out.flush()

    def close(self) -> None:
        """Wipes the live line."""
        if self._live:
            self._out.write("\r\x1b[K")
            self._out.flush()

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._started

    def remaining(self) -> float | None:
        """Seconds left, or None before the first round of training; unseen kinds count as 0."""
        if not self._times.get("train"):
            return None
        total = 0.0
        for kind, left in self._left.items():
            # The first time includes compilation; later ones do not.
            times = self._times[kind][1:] or self._times[kind] or [0.0]
            total += left * sum(times) / len(times)
        return max(0.0, total - (time.monotonic() - self._stage_started))

    def times_line(self) -> str:
        """Elapsed and remaining, in words."""
        left = self.remaining()
        return f"{clock(self.elapsed)} so far" + (
            "" if left is None else f", about {clock(left)} to go"
        )

    def _within(self, done: int, total: int) -> None:
        now = time.monotonic()
        if self._live and now - self._shown > 0.2:
            self._shown = now
            self._show(f"{self._where} · {self._kind} {done}/{total}")

    def _show(self, text: str) -> None:
        if self._live:
            line = f"{text} · {self.times_line()}"
            width = shutil.get_terminal_size().columns - 1  # a wrapped line could not be wiped
            self._out.write(f"\r\x1b[K{line[:width]}")
            self._out.flush()


class Pace:
    """Reports the steps of a training: one report in about 2 seconds, at least every 20 steps.

    Attributes:
      every: steps between two reports.
    """

    def __init__(self, progress: Callable[[int, int], None], total: int) -> None:
        """`progress`: called as (steps done, `total`)."""
        self.every = 1
        self._progress, self._total = progress, total
        self._reported = time.monotonic()
        self._several_hosts = jax.process_count() > 1

    def report(self, done: int) -> bool:
        """Reports the steps that are done; returns whether SIGTERM came to any host."""
        seconds, preempted = time.monotonic() - self._reported, preemption.sigterm.is_set()
        if self._several_hosts:
            seconds, preempted = all_max([seconds, float(preempted)])
        self._reported = time.monotonic()
        self.every = min(20, max(1, int(2 * self.every / max(seconds, 1e-3))))
        self._progress(done, self._total)
        return bool(preempted)
