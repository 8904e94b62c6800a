"""Says what is happening and how long it will take."""

import shutil
import sys
import time
from collections.abc import Callable
from typing import TextIO


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

    def start(self, kind: str) -> Callable[[int, int], None]:
        """Begins a stage; returns a callback for (done, total) within it."""
        self._kind, self._stage_started = kind, time.monotonic()
        self._show(f"{self._where} · {kind}")
        return self._within

    def finish(self) -> None:
        """Ends the stage."""
        kind = self._kind
        self._times[kind].append(time.monotonic() - self._stage_started)
        self._left[kind] = max(0, self._left[kind] - 1)

    def skip(self, kind: str, times: int = 1) -> None:
        """A stage was done in an earlier life."""
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
