"""Writes the report of a run again while it goes on."""

import time
from collections.abc import Callable

from boostlm.report.write import read_run, write_report
from boostlm.storage.run_dir import RunDir

SHARE = 0.05  # of the run's time, at the most
_FIRST = 3.0  # seconds that the first report is expected to take


class ReportRefresh:
    """Call it after each row. It leaves a row out if reports would take over SHARE of the time.

    Both files of a report are replaced as a whole, so a reader never meets a torn one.
    """

    def __init__(self, run_dir: RunDir, clock: Callable[[], float] = time.monotonic) -> None:
        """Starts the time of the run."""
        self._run_dir, self._clock = run_dir, clock
        self._next = clock() + _FIRST / SHARE
        self.__name__ = "refresh the report"

    def __call__(self) -> None:
        """Writes report.html and summary.png, or leaves them for a later row."""
        began = self._clock()
        if began < self._next:
            return
        write_report(self._run_dir.root, read_run(self._run_dir))
        now = self._clock()
        self._next = now + (now - began) / SHARE
