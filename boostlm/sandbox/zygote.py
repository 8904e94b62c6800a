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
import time
import traceback
from typing import Any

from boostlm.sandbox import child, confine, wire

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
_exit = os._exit  # works even if a candidate replaces os._exit


def serve() -> None:
    """Serves jobs from standard input until the input closes, then exits."""
    os.environ.clear()
    for name in _WARM:
        __import__(name)
    confine.prepare()
    self_pidfd = os.pidfd_open(os.getpid())
    limits = json.loads(_read_frame() or b"")
    gc.collect()
    gc.freeze()  # the collector does not touch shared pages, so forks stay cheap
    results = bytearray(limits["max_output_bytes"] + 2)
    _write_all(wire.READY)
    while (job := _read_frame()) is not None:
        pid, result_fd = _fork(job, limits, self_pidfd)
        _wipe(job)
        how, size = _collect(pid, result_fd, results, limits)
        _, status, usage = os.wait4(pid, 0)
        if size == 0 or results[:1] != wire.READY:
            raise RuntimeError("a check could not be confined")  # the candidate did not run
        cpu = usage.ru_utime + usage.ru_stime
        _write_all(wire.REPLY.pack(how, status, cpu, size - 1))
        _write_all(memoryview(results)[1:size])
        _wipe(results, size)
    os._exit(0)


def _fork(job: bytearray, limits: dict[str, Any], self_pidfd: int) -> tuple[int, int]:
    """Starts the check of one job. Returns its pid and the read end of its result pipe."""
    result_fd, child_end = os.pipe()
    confine.next_child_in_new_pid_namespace(self_pidfd)
    pid = os.fork()
    if pid == 0:
        try:
            _in_child(job, child_end, limits)
        except BaseException:
            traceback.print_exc()
        finally:
            _exit(1)
    os.close(child_end)
    return pid, result_fd


def _in_child(job: bytearray, child_end: int, limits: dict[str, Any]) -> None:
    confine.confine(child_end, limits)
    os.write(confine.RESULT_FD, wire.READY)  # from here on, the candidate may write
    random.seed(0)  # deterministic, like the fixed hash seed
    child.run(bytes(job), confine.RESULT_FD, limits["max_output_bytes"])


def _collect(pid: int, fd: int, results: bytearray, limits: dict[str, Any]) -> tuple[int, int]:
    """Reads a check's output until it closes the pipe or exceeds a limit, then kills the check.

    A check that closed the pipe cannot send more, so killing it loses nothing. The kill ends its
    whole pid namespace.

    Returns:
      How the check ended (wire.ENDED, OVER_CPU, OVER_WALL or OVER_OUTPUT) and the bytes read.
    """
    end = time.monotonic() + limits["wall_seconds"]
    cpu_clock = (~pid << 3) | 2  # as in clock_getcpuclockid: exact, unlike RLIMIT_CPU
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    view = memoryview(results)
    size, how = 0, wire.ENDED
    while True:
        wall_left = end - time.monotonic()
        cpu_left = limits["cpu_seconds"] - time.clock_gettime(cpu_clock)
        if cpu_left <= 0 or wall_left <= 0:
            how = wire.OVER_CPU if cpu_left <= 0 else wire.OVER_WALL
            break
        # One thread cannot use its remaining CPU time in less wall time.
        if not poll.poll(1000 * min(wall_left, max(cpu_left, 0.001))):
            continue
        got = os.readv(fd, [view[size:]])
        size += got
        if got == 0:
            break
        if size == len(results):
            how = wire.OVER_OUTPUT
            break
    os.kill(pid, signal.SIGKILL)
    os.close(fd)
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
