"""SIGTERM: a spot VM is taken away 30 s later, and the run leaves before that.

A run commits every stage, and sampling and training save what they have (`storage.partial_stages`).
So it only has to leave in time: after the next batch or steps (`sigterm` is set), or, while the
main thread compiles, after `GRACE_S` from a thread that depends on nothing else. Leaving in that
way is like a kill at that moment, which every commit survives.
"""

import os
import signal
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager

EXIT_STATUS = 75  # EX_TEMPFAIL of sysexits.h: try again
GRACE_S = 20.0  # seconds, of about 25 that a process has
MESSAGE = "preempted (SIGTERM). What was committed is kept: the same command continues from here"

sigterm = threading.Event()  # set once SIGTERM came within `watching`


class Preempted(BaseException):
    """The process was asked to leave. Not an error, so `except Exception` does not catch it."""

    def __init__(self) -> None:
        super().__init__(MESSAGE)


@contextmanager
def watching(grace_s: float = GRACE_S) -> Generator[None]:
    """Within the block, SIGTERM sets `sigterm` and ends the process at most `grace_s` later.

    Main thread only. Enter it after `join_hosts`: JAX's runtime for several hosts handles SIGTERM
    itself.

    Args:
      grace_s: seconds until the process is ended with EXIT_STATUS if it is still in the block.
    """
    sigterm.clear()
    left = threading.Event()
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    # A Python handler runs only between bytecodes; the number of the signal is written at once.
    old_writer = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    old_handler = signal.signal(signal.SIGTERM, lambda number, frame: sigterm.set())
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
        sigterm.clear()


def _watch(reader: int, left: threading.Event, grace_s: float) -> None:
    while numbers := os.read(reader, 64):
        if signal.SIGTERM in numbers:
            sigterm.set()
            if not left.wait(grace_s):
                print(f"\nboostlm: {MESSAGE}", file=sys.stderr, flush=True)
                os._exit(EXIT_STATUS)
