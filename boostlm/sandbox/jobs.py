"""What goes into the sandbox and what comes out: jobs, limits, outcomes."""

import math
from dataclasses import dataclass, fields

from boostlm.errors import BoostError

MIB = 1024 * 1024
STATUSES = ("ok", "error", "timeout", "memory", "killed", "bad_output")


class SandboxError(BoostError):
    """The sandbox cannot be started or keeps dying. Never a statement about a candidate."""


@dataclass(frozen=True)
class Limits:
    """What one check may use. The verdict follows CPU time; wall time only ends sleepers.

    A check is one process with one thread: it can neither fork nor start a thread.
    """

    cpu_seconds: float = 10.0  # CPU seconds of the whole check, user and system
    wall_seconds: float = 120.0  # seconds on the clock; many times cpu_seconds, for busy machines
    memory_bytes: int = (
        512 * MIB
    )  # bytes of address space, the interpreter's own (~30 MiB) included
    max_output_bytes: int = MIB  # bytes of all returned values, encoded; what is printed is dropped
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

    Everything in a job is shown to the candidate, so no expected value may be in it.

    Attributes:
      code: the candidate's program, hostile or not.
      setup: trusted statements that may use what `code` defines; empty for none.
      calls: expressions, whose values come back in the same order.
    """

    code: str
    setup: str = ""
    calls: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """What one job came to.

    Attributes:
      status: one of STATUSES. "ok": every call returned a plain value. "error": it raised or left
        early. "timeout": over a time limit. "memory": MemoryError. "killed": died of a signal.
        "bad_output": a value that is not plain, is too large, or a result that is no result.
      values: one plain value a call if the status is "ok"; else empty.
      detail: one line for a person; partly the candidate's words, so never to be relied on.
    """

    status: str
    values: tuple = ()
    detail: str = ""
