"""The sandbox's inputs and outputs: jobs, limits and outcomes."""

import math
from dataclasses import dataclass, fields

from boostlm.errors import BoostError

MIB = 1024 * 1024
STATUSES = ("ok", "error", "timeout", "memory", "killed", "bad_output")


class SandboxError(BoostError):
    """The sandbox cannot be started or fails repeatedly. It says nothing about a candidate."""


@dataclass(frozen=True)
class Limits:
    """The resource limits of one check. CPU time decides the verdict; the others end sleepers.

    A check is one process, which may start threads (at most `threads.MOST`) and cannot fork.
    """

    cpu_seconds: float = 10.0  # CPU seconds of the whole check, user and system
    wall_seconds: float = 120.0  # wall time; many times cpu_seconds, for busy machines
    wait_seconds: float = 10.0  # wall time beyond 50 times the CPU time: a check that only waits
    memory_bytes: int = 512 * MIB  # address space, including the interpreter's (~30 MiB)
    max_output_bytes: int = MIB  # bytes of all encoded values; printed output is discarded
    scratch_bytes: int = 16 * MIB  # bytes of the private tmpfs on /tmp, and of its largest file

    def __post_init__(self) -> None:
        """Raises BoostError for a limit that is not a positive, finite number."""
        for f in fields(self):
            value = getattr(self, f.name)
            whole = f.name.endswith("_bytes")
            good = type(value) is int or (not whole and type(value) is float)
            if not good or not math.isfinite(value) or value <= 0:
                raise BoostError(f"sandbox limit {f.name}: {value!r} is not a positive number")


@dataclass(frozen=True)
class Job:
    """One check: run `code`, then `setup`, then evaluate each of `calls` in the same module.

    The candidate can see everything in a job, so a job must not contain expected values.

    Attributes:
      code: the candidate's untrusted program.
      setup: trusted statements that may use names from `code`; empty for none.
      calls: expressions. Their values are returned in the same order.
    """

    code: str
    setup: str = ""
    calls: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """The outcome of one job.

    Attributes:
      status: one of STATUSES. "ok": every call returned a plain value. "error": the program raised
        or exited early. "timeout": over a time limit. "memory": MemoryError. "killed": ended by a
        signal. "bad_output": a value is not plain or too large, or the result is malformed.
      values: one plain value per call if the status is "ok"; else empty.
      detail: one line for people. The candidate can influence it, so code must not rely on it.
    """

    status: str
    values: tuple = ()
    detail: str = ""
