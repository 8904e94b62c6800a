"""The host's handle of one sandboxed forking process: start, send, receive, stop.

It is separate from the pool so that the probe can use a worker before a pool exists.
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
from boostlm.sandbox.packages import Packages

_START_SECONDS = 120.0  # long, because the machine may be busy
_SPARE_SECONDS = 60.0  # beyond wall_seconds, before the process counts as lost
_STOP_SECONDS = 10.0
_NO_PACKAGES = Packages()


class Lost(Exception):
    """The forking process ended or sent an invalid reply. The job has no outcome."""


class Worker:
    """A sandboxed process that runs one job at a time."""

    def __init__(
        self, bwrap: str, limits: Limits, label: str, packages: Packages = _NO_PACKAGES
    ) -> None:
        """Starts the process without waiting. `receive` returns None until it is ready."""
        self.limits = limits
        self.ready = False
        self.job: int | None = None  # the caller's number of the running job
        self.calls = 0
        self.served = 0
        self.suspect = False  # whether a check ended in a way that suggests a hostile program
        self.received = bytearray()
        self.deadline = time.monotonic() + _START_SECONDS
        try:
            self.process = subprocess.Popen(
                bubblewrap.command(bwrap, label, packages),
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
        with contextlib.suppress(BrokenPipeError):  # `receive` reports the reason
            self._write_frame(json.dumps(asdict(limits)).encode())

    @property
    def free(self) -> bool:
        """Whether it can accept a job now."""
        return self.ready and self.job is None

    def send(self, number: int, job: Job) -> None:
        """Sends a job. Raises Lost if the process has ended."""
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
        """Reads the available bytes. Returns the outcome when it is complete. Raises Lost."""
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
            raise Lost("it sent a reply without a job")
        if len(self.received) < wire.REPLY.size:
            return None
        how, status, cpu, size = wire.REPLY.unpack_from(self.received)
        if size > self.limits.max_output_bytes + 1 or how > wire.OVER_OUTPUT:
            raise Lost("it sent an invalid reply")
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
        """Raises Lost if the deadline for a reply has passed."""
        if not self.free and time.monotonic() > self.deadline:
            raise Lost("it stopped answering")

    def stop(self) -> None:
        """Ends the process and everything inside it, and waits for them to end."""
        self._stdin.close()  # an idle process then exits
        if self.job is not None:
            self.process.kill()
        try:
            self.process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        # Killing bubblewrap kills its sandbox with a delay. The pipe closes when it has ended.
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
        return text.decode("utf-8", "replace").strip()[-1000:] or "no error output"


def _readable(fd: int, seconds: float) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


def encode_job(job: Job) -> bytes:
    """The job's frame. Lone surrogates stay as they are; see `values`."""
    parts = [job.code, job.setup, list(job.calls)]
    return json.dumps(parts, ensure_ascii=False).encode("utf-8", "surrogatepass")


def judge_end(
    how: int, status: int, cpu: float, payload: bytes, calls: int, limits: Limits
) -> Outcome:
    """The outcome of a finished check. The first matching rule applies.

    Args:
      how: wire.ENDED, OVER_CPU, OVER_WALL, OVER_WAIT or OVER_OUTPUT.
      status: the wait status from os.wait4.
      cpu: the CPU seconds used.
      payload: the bytes that the candidate's process wrote. They are untrusted.
      calls: the number of requested values.
      limits: the limits of the check.
    """
    if how == wire.OVER_CPU or cpu > limits.cpu_seconds:
        return Outcome("timeout", detail=f"more than {limits.cpu_seconds} CPU seconds")
    if how == wire.OVER_WALL:
        return Outcome("timeout", detail=f"not done after {limits.wall_seconds} s of wall time")
    if how == wire.OVER_WAIT:
        return Outcome("timeout", detail=f"waited for {limits.wait_seconds} s")
    if how == wire.OVER_OUTPUT:
        return Outcome("bad_output", detail=f"more than {limits.max_output_bytes} bytes")
    if not payload:
        if os.WIFSIGNALED(status):
            return Outcome("killed", detail=f"died of signal {os.WTERMSIG(status)}")
        return Outcome("error", detail="exited without a result")
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
