"""What the sandbox's tests share: whether one works here, and what the machine's processes are."""

import contextlib
import os
import re
import subprocess
import time
from pathlib import Path

import pytest

from boostlm.sandbox import Job, SandboxError, bubblewrap, require_sandbox, values
from boostlm.tasks.mbpp.check import MbppProblem
from support.data_sets import FIXTURES

HOSTILE = {p.stem: p for p in sorted((FIXTURES / "hostile").glob("*.py"))}
SMALL = {"cpu_seconds": 1.0, "wall_seconds": 6.0, "memory_bytes": 256 * 2**20}
NAME = f"boostlm-hostile-{os.getpid()}"  # of files that must not appear anywhere
SECRET = f"secret-{os.getpid()}-of-the-host"
TRIPLE = MbppProblem(
    0,
    "Write a function to triple a number.",
    "def triple(x):\n    return 3 * x",
    "",
    ("assert triple(2) == 6", "assert triple(5) == 15", "assert triple(-1) == -3"),
)


def need_sandbox():
    """The bwrap that works. Skips where the machine allows none; fails where only ours does not."""
    try:
        return require_sandbox()
    except SandboxError as e:
        for _, path in bubblewrap.find():
            plain = [
                path,
                "--unshare-user",
                "--unshare-pid",
                "--unshare-net",
                "--ro-bind",
                "/",
                "/",
            ]
            if subprocess.run([*plain, "true"], capture_output=True).returncode == 0:
                pytest.fail(f"bubblewrap works here, but the sandbox does not: {e}")
        pytest.skip(f"no sandbox works on this machine: {e}")


def run(sandbox, code, *calls, setup=""):
    return sandbox.check_many([Job(code, setup, calls)])[0]


def there_and_back(value):
    """A value as it arrives on the host."""
    return values.decode(values.parse(b"[" + values.encode(value, 10**6) + b"]")[0])


def processes():
    """{pid: (parent's pid, command line)} of every process on the machine."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                parent = re.search(r"PPid:\s*(\d+)", (entry / "status").read_text())[1]
                found[int(entry.name)] = (int(parent), (entry / "cmdline").read_bytes())
    return found


def labeled(label):
    """The processes of one sandbox: forks keep the command line."""
    return [pid for pid, (_, command) in processes().items() if label.encode() in command]


def descendants(root):
    table = processes()
    found = [root]
    for pid in found:
        found += [child for child, (parent, _) in table.items() if parent == pid]
    return found[1:]


def wait_for(condition, seconds=20.0):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError("it did not happen in time")


def visited(server):
    server.setblocking(False)
    try:
        server.accept()[0].close()
    except BlockingIOError:
        return False
    return True
