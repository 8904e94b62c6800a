"""The process inside the sandbox that forks a child for each check.

Starting bubblewrap and Python takes tens of milliseconds. Forking this process, which has already
started and imported the usual modules, takes about one. It never runs a candidate, never parses a
candidate's output, and keeps no data of one check that a later check could find in its memory.
"""

import gc
import json
import os
import random
import select
import signal
import sys
import time
import traceback
from typing import Any

from boostlm.sandbox import child, confine, honest, threads, values, wire

# The modules that candidates import most. They are imported once, before the forks.
_WARM = [
    "array",
    "bisect",
    "calendar",
    "cmath",
    "collections",
    "copy",
    "dataclasses",
    "datetime",
    "decimal",
    "enum",
    "fractions",
    "functools",
    "heapq",
    "itertools",
    "math",
    "operator",
    "re",
    "statistics",
    "string",
    "textwrap",
    "typing",
]
_JOB_IN, _REPLY_OUT = 0, 1
_LOOK_SECONDS = 0.5
_LEAST_SHARE = 1 / 50  # of a core: what a check that works gets, however busy the machine is
_exit = os._exit  # works even if a candidate replaces os._exit


def serve(folder: str, packages: tuple[str, ...]) -> None:
    """Serves jobs from standard input until the input closes, then exits.

    Args:
      folder: where the packages are.
      packages: modules that candidates may import besides the standard library.
    """
    if packages:
        sys.path.append(folder)
    for name in [*_WARM, *packages]:
        __import__(name)
    if numpy := sys.modules.get("numpy"):
        numpy.random.seed(0)  # deterministic, like the fixed hash seed
        values.know_numpy(numpy)
    os.environ.clear()
    honest.mend_interpreter()
    confine.prepare()
    counter = threads.Counter()
    self_pidfd = os.pidfd_open(os.getpid())
    limits = json.loads(_read_frame() or b"")
    gc.collect()
    gc.freeze()  # the collector does not touch shared pages, so forks stay cheap
    results = bytearray(limits["max_output_bytes"] + 1)
    _write_all(wire.READY)
    while (job := _read_frame()) is not None:
        pid, result_fd = _fork(job, limits, self_pidfd, counter)
        _wipe(job)
        if os.read(result_fd, 1) != wire.READY:
            raise RuntimeError("a check could not be confined")  # the candidate did not run
        how, size = _Watch(pid, limits).collect(result_fd, counter.listener(), results)
        _, status, usage = os.wait4(pid, 0)
        cpu = usage.ru_utime + usage.ru_stime
        _write_all(wire.REPLY.pack(how, status, cpu, size))
        _write_all(memoryview(results)[:size])
        _wipe(results, size)
    os._exit(0)


def _fork(
    job: bytearray, limits: dict[str, Any], self_pidfd: int, counter: threads.Counter
) -> tuple[int, int]:
    """Starts the check of one job. Returns its pid and the read end of its result pipe."""
    result_fd, child_end = os.pipe()
    confine.next_child_in_new_pid_namespace(self_pidfd)
    pid = os.fork()
    if pid == 0:
        try:
            confine.confine(child_end, limits, counter)
            os.write(confine.RESULT_FD, wire.READY)  # from here on, the candidate may write
            random.seed(0)  # deterministic, like the fixed hash seed
            child.run(bytes(job), confine.RESULT_FD, limits["max_output_bytes"])
        except BaseException:
            traceback.print_exc()
        finally:
            _exit(1)
    os.close(child_end)
    return pid, result_fd


class _Watch:
    """Watches the time that one check takes."""

    def __init__(self, pid: int, limits: dict[str, Any]) -> None:
        self._pid = pid
        self._limits = limits
        self._cpu_clock = (~pid << 3) | 2  # as in clock_getcpuclockid: exact, unlike RLIMIT_CPU
        self._last = time.monotonic()
        self._end = self._last + limits["wall_seconds"]
        self._watched = 0.0  # wall time, without that in which this process could not run either

    def over(self) -> tuple[int, float]:
        """The limit that the check exceeds (wire.ENDED: none), and when to look again, in seconds.

        A check that waits uses no CPU time. One that works gets a share of a core even on a busy
        machine, and this process wakes up in time, or else its delay is not counted.
        """
        now = time.monotonic()
        self._watched += min(now - self._last, 2 * _LOOK_SECONDS)
        self._last = now
        cpu = time.clock_gettime(self._cpu_clock)
        cpu_left = self._limits["cpu_seconds"] - cpu
        wait_left = self._limits["wait_seconds"] + cpu / _LEAST_SHARE - self._watched
        wall_left = self._end - now
        for left, how in (
            (cpu_left, wire.OVER_CPU),
            (wall_left, wire.OVER_WALL),
            (wait_left, wire.OVER_WAIT),
        ):
            if left <= 0:
                return how, 0.0
        return wire.ENDED, min(wall_left, max(cpu_left, 0.001), wait_left, _LOOK_SECONDS)

    def collect(self, fd: int, listener: int, results: bytearray) -> tuple[int, int]:
        """Reads a check's output until it closes the pipe or exceeds a limit, then kills the check.

        A check that closed the pipe cannot send more, so killing it loses nothing. The kill ends
        its whole pid namespace.

        Args:
          fd: the read end of its result pipe.
          listener: the descriptor through which it asks for threads.
          results: where its output goes.

        Returns:
          How the check ended (wire.ENDED or the limit) and the bytes read.
        """
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        poll.register(listener, select.POLLIN)
        view = memoryview(results)
        size = started = 0
        while True:
            how, seconds = self.over()
            if how != wire.ENDED:
                break
            events = dict(poll.poll(1000 * seconds))
            if asked := events.get(listener):
                if asked & select.POLLIN:
                    threads.answer(listener, started)
                    started += 1
                else:
                    poll.unregister(listener)  # it has ended
            if fd not in events:
                continue
            got = os.readv(fd, [view[size:]])
            size += got
            if got == 0:
                break
            if size == len(results):
                how = wire.OVER_OUTPUT
                break
        os.kill(self._pid, signal.SIGKILL)
        os.close(fd)
        os.close(listener)
        return how, size


def _wipe(buffer: bytearray, size: int | None = None) -> None:
    size = len(buffer) if size is None else size
    buffer[:size] = bytes(size)


def _read_frame() -> bytearray | None:
    """The next frame, in a buffer that can be wiped; None at the end of input."""
    header = bytearray(wire.LENGTH.size)
    if not _fill(header):
        return None
    frame = bytearray(wire.LENGTH.unpack(header)[0])
    if not _fill(frame):
        return None
    return frame


def _fill(buffer: bytearray) -> bool:
    view = memoryview(buffer)
    done = 0
    while done < len(buffer):
        got = os.readv(_JOB_IN, [view[done:]])
        if got == 0:
            return False
        done += got
    return True


def _write_all(data: bytes | memoryview) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(_REPLY_OUT, view) :]
