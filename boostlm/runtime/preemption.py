"""SIGTERM: a spot VM is taken away 30 s later. What is committed is enough to go on from.

A run commits every stage, and sampling and training keep what they came to (unfinished.py), so
being preempted takes little but leaving in time: at the next batch or steps (`asked`), or, where
the main thread is deep in a compilation, after `GRACE_S` from a thread that depends on nothing
else. Leaving like that is no worse than a kill at that moment, which every commit is made for.
"""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

EXIT_STATUS = 75  # EX_TEMPFAIL of sysexits.h: try again
GRACE_S = 20.0  # of the 25 s that are ours
MESSAGE = "preempted (SIGTERM). What was committed is kept: the same command goes on from here"

_asked = threading.Event()


class Preempted(BaseException):
    """The process was asked to leave. No error, so `except Exception` lets it pass."""

    def __init__(self):
        super().__init__(MESSAGE)


def asked() -> bool:
    """Whether SIGTERM came within `watching`."""
    return _asked.is_set()


@contextmanager
def watching(grace_s: float = GRACE_S) -> Iterator[None]:
    """Within the block, SIGTERM makes `asked` say so, and ends the process `grace_s` later at most.

    Main thread only. To be entered after `join_hosts`, since JAX's runtime for several hosts takes
    SIGTERM for itself.

    Args:
      grace_s: seconds until the process is ended with EXIT_STATUS if it is still in the block.
    """
    _asked.clear()
    left = threading.Event()
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    # A Python handler runs only between bytecodes; the number of the signal is written at once.
    old_writer = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    old_handler = signal.signal(signal.SIGTERM, lambda number, frame: _asked.set())
    watcher = threading.Thread(target=_watch, args=(reader, left, grace_s), daemon=True)
    watcher.start()
    try:
        yield
    finally:
        left.set()
        signal.signal(signal.SIGTERM, old_handler)
        signal.set_wakeup_fd(old_writer)
        os.close(writer)  # the watcher reads the end of the pipe
        watcher.join()
        os.close(reader)
        _asked.clear()


def _watch(reader: int, left: threading.Event, grace_s: float) -> None:
    while numbers := os.read(reader, 64):
        if signal.SIGTERM in numbers:
            _asked.set()
            if not left.wait(grace_s):
                print(f"\nboostlm: {MESSAGE}", file=sys.stderr, flush=True)
                os._exit(EXIT_STATUS)
