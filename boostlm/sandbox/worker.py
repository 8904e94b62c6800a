"""One forking process in its sandbox, seen from the host: start, send, receive, stop.

Kept apart from the pool so that the probe can try one before any pool exists.
"""

import contextlib
import json
import os
import select
import subprocess
import time
from dataclasses import asdict
from typing import IO, cast

from boostlm.sandbox import bubblewrap, values, wire
from boostlm.sandbox.jobs import STATUSES, Job, Limits, Outcome, SandboxError

_START_SECONDS = 120.0  # a machine may be very busy
_SPARE_SECONDS = 60.0  # over wall_seconds, before the process itself counts as lost
_STOP_SECONDS = 10.0


class Lost(Exception):
    """The forking process ended, or answered what it never should: no verdict follows."""


class Worker:
    """A sandboxed process that runs one job at a time."""

    def __init__(self, bwrap: str, limits: Limits, label: str) -> None:
        """Starts it without waiting; `receive` reports None until it is ready."""
        self.limits = limits
        self.ready = False
        self.job: int | None = None  # the caller's number for the job under way
        self.calls = 0
        self.served = 0
        self.suspect = False  # whether a check ended in a way that no honest program would
        self.received = bytearray()
        self.deadline = time.monotonic() + _START_SECONDS
        try:
            self.process = subprocess.Popen(
                bubblewrap.command(bwrap, label),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                env={},
                cwd="/",
            )
        except OSError as e:
            raise SandboxError(f"cannot run {bwrap}: {e}") from e
        streams = self.process.stdin, self.process.stdout, self.process.stderr
        self._stdin, self._stdout, self._stderr = (cast(IO[bytes], s) for s in streams)  # pipes
        self.fd = self._stdout.fileno()
        with contextlib.suppress(BrokenPipeError):  # `receive` will say why
            self._write_frame(json.dumps(asdict(limits)).encode())

    @property
    def free(self) -> bool:
        """Whether it can take a job now."""
        return self.ready and self.job is None

    def send(self, number: int, job: Job) -> None:
        """Hands over a job; raises Lost if the process is gone."""
        self.job, self.calls = number, len(job.calls)
        self.received.clear()
        self.deadline = time.monotonic() + self.limits.wall_seconds + _SPARE_SECONDS
        try:
            self._write_frame(encode_job(job))
        except BrokenPipeError:
            raise Lost("it closed its input") from None

    def _write_frame(self, data: bytes) -> None:
        view = memoryview(wire.LENGTH.pack(len(data)) + data)
        while view:
            view = view[os.write(self._stdin.fileno(), view) :]

    def receive(self) -> Outcome | None:
        """Reads what is there; the outcome once it is complete. Raises Lost."""
        data = os.read(self.fd, 1 << 16)
        if not data:
            raise Lost(f"it ended: {self._last_words()}")
        self.received += data
        if not self.ready:
            if bytes(self.received) != wire.READY:
                raise Lost("it did not start as expected")
            self.ready = True
            self.received.clear()
            return None
        if self.job is None:
            raise Lost("it spoke out of turn")
        if len(self.received) < wire.REPLY.size:
            return None
        how, status, cpu, size = wire.REPLY.unpack_from(self.received)
        if size > self.limits.max_output_bytes + 2 or how > wire.OVER_OUTPUT:
            raise Lost("it sent an impossible reply")
        if len(self.received) < wire.REPLY.size + size:
            return None
        payload = bytes(self.received[wire.REPLY.size : wire.REPLY.size + size])
        self.received.clear()
        self.job = None
        self.served += 1
        outcome = judge_end(how, status, cpu, payload, self.calls, self.limits)
        unasked = outcome.status == "bad_output" and not payload.startswith(b'["bad_output",')
        self.suspect = how != wire.ENDED or status != 0 or unasked
        return outcome

    def check_deadline(self) -> None:
        """Raises Lost if it should have answered by now."""
        if not self.free and time.monotonic() > self.deadline:
            raise Lost("it stopped answering")

    def stop(self) -> None:
        """Ends it and everything in it, and waits until that is so."""
        self._stdin.close()  # makes it leave, unless it is at work
        if self.job is not None:
            self.process.kill()
        try:
            self.process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        # A killed bubblewrap takes its sandbox along, but not at once: the pipe ends when it has.
        while _readable(self.fd, _STOP_SECONDS) and os.read(self.fd, 1 << 16):
            pass
        self._stdout.close()
        self._stderr.close()

    def _last_words(self) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(1.0)
        errors, text = self._stderr.fileno(), b""
        while len(text) < 1 << 16 and _readable(errors, 0.1):
            more = os.read(errors, 1 << 12)
            if not more:
                break
            text += more
        return text.decode("utf-8", "replace").strip()[-1000:] or "without a word"


def _readable(fd: int, seconds: float) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


def encode_job(job: Job) -> bytes:
    """The job's frame; ASCII, so lone surrogates in a candidate do no harm."""
    return json.dumps([job.code, job.setup, list(job.calls)]).encode()


def judge_end(
    how: int, status: int, cpu: float, payload: bytes, calls: int, limits: Limits
) -> Outcome:
    """What a finished check amounts to; the first rule that applies decides.

    Args:
      how: wire.ENDED, OVER_CPU, OVER_WALL or OVER_OUTPUT.
      status: as os.wait4 returns it.
      cpu: CPU seconds used.
      payload: the bytes the candidate's process wrote; anything at all.
      calls: the number of values asked for.
      limits: those the check ran under.
    """
    if how == wire.OVER_CPU or cpu > limits.cpu_seconds:
        return Outcome("timeout", detail=f"more than {limits.cpu_seconds} CPU seconds")
    if how == wire.OVER_WALL:
        return Outcome("timeout", detail=f"not done after {limits.wall_seconds} s on the clock")
    if how == wire.OVER_OUTPUT:
        return Outcome("bad_output", detail=f"more than {limits.max_output_bytes} bytes")
    if not payload:
        if os.WIFSIGNALED(status):
            return Outcome("killed", detail=f"died of signal {os.WTERMSIG(status)}")
        return Outcome("error", detail="left without a result")
    try:
        tree = values.parse(payload)
        if len(tree) < 2 or tree[0] not in STATUSES or type(tree[1]) is not str:
            raise ValueError("not a result")
        if tree[0] != "ok":
            return Outcome(tree[0], detail=_printable(tree[1]))
        if len(tree) != 2 + calls:
            raise ValueError(f"{len(tree) - 2} values for {calls} calls")
        return Outcome("ok", tuple(values.decode(x) for x in tree[2:]))
    except (ValueError, RecursionError, MemoryError) as e:
        return Outcome("bad_output", detail=_printable(str(e)))


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text[:200])
