"""Hostile programs: all fail, and none changes the host or leaves a process behind."""

import os
import re
import socket
import stat
from pathlib import Path

import pytest
from support.data_sets import REPOSITORY
from support.sandbox_kit import (
    HOSTILE,
    NAME,
    SECRET,
    SMALL,
    TRIPLE,
    labeled,
    need_sandbox,
    visited,
)

from boostlm.sandbox import (
    Sandbox,
    values,
)
from boostlm.tasks.mbpp.check import judge

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def working():
    return need_sandbox()


@pytest.fixture(scope="module")
def aftermath(working, tmp_path_factory):
    """Runs every hostile program once. Returns the verdicts and the state of the host afterwards."""
    home = tmp_path_factory.mktemp("home")
    (home / "key").write_text(SECRET)
    sentinel = home / "sentinel"
    sentinel.write_text("untouched")
    mark = home / f"{NAME}-mark"
    server = socket.create_server(("127.0.0.1", 0))
    abstract = socket.socket(socket.AF_UNIX)
    abstract.bind(f"\0{NAME}")
    abstract.listen()
    tokens = {
        "@MARK@": mark,
        "@NAME@": NAME,
        "@HOME@": home,
        "@SENTINEL@": sentinel,
        "@SECRET_FILE@": home / "key",
        "@SECRET@": SECRET,
        "@REPO@": REPOSITORY,
        "@PORT@": server.getsockname()[1],
        "@ABSTRACT@": NAME,
    }
    codes = []
    for path in HOSTILE.values():
        code = path.read_text()
        for token, value in tokens.items():
            code = code.replace(token, str(value))
        codes.append(code)
    codes += [TRIPLE.reference, "def triple(x) return 3 * x"]
    with pytest.MonkeyPatch.context() as patch, server, abstract:
        patch.setenv("BOOSTLM_SECRET", SECRET)
        before = host_state(home, mark)
        with Sandbox(workers=4, **SMALL) as sandbox:
            verdicts = judge([TRIPLE] * len(codes), codes, sandbox)
            inside = labeled(sandbox.label)
        left = labeled(sandbox.label)
        after = host_state(home, mark)
        visitors = [s for s in (server, abstract) if visited(s)]
    names = [*HOSTILE, "honest", "not a program"]
    return dict(zip(names, verdicts)), {
        "inside": len(inside), "left": left, "before": before, "after": after, "visitors": visitors
    }  # fmt: skip


def host_state(home, mark):
    """The parts of the host that an escaped program would have changed."""
    places = [
        "/",
        "/root",
        "/home",
        "/run",
        "/etc",
        "/var",
        "/var/tmp",
        "/tmp",
        "/dev/shm",
        ".",
        "..",
    ]
    places += [home, REPOSITORY, Path.home(), os.path.dirname(os.__file__)]
    null = os.stat("/dev/null")
    library = [os.path.join(os.path.dirname(os.__file__), n) for n in ("bisect.py", "os.py")]
    library.append(values.__file__)
    return {
        "new files": [str(p) for p in places for p in Path(p).glob(f"*{NAME}*")] + [mark.exists()],
        "home": sorted((p.name, p.read_text()) for p in home.iterdir()),
        "null": (stat.filemode(null.st_mode), null.st_mtime),
        "library": [(os.stat(p).st_size, os.stat(p).st_mtime) for p in library],
        "host name": socket.gethostname(),
        "ids": (os.getpgid(0), os.getsid(0)),
    }


def test_there_are_many_hostile_programs_and_each_describes_its_attack():
    assert len(HOSTILE) >= 40
    for name, path in HOSTILE.items():
        assert re.match(r"# [A-Z].{10,}\.\n", path.read_text()), name


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_program_fails(aftermath, name):
    verdict = aftermath[0][name]
    assert not verdict.passed
    assert verdict.reason


def test_an_honest_program_passes_beside_them(aftermath):
    assert aftermath[0]["honest"].passed
    assert "SyntaxError" in aftermath[0]["not a program"].reason


def test_hostile_programs_leave_no_process_and_change_nothing_outside(aftermath):
    seen = aftermath[1]
    assert seen["left"] == []
    assert seen["inside"] <= 3 * 4  # per worker: two of bubblewrap's processes and one of ours
    assert seen["visitors"] == []
    assert seen["after"] == seen["before"]
    assert seen["before"]["new files"] == [False]


@pytest.mark.parametrize(
    ("name", "status"),
    [
        *((n, "timeout") for n in ("loop", "loop_at_import", "regex_bomb", "power_bomb", "sleep", "deadlock", "print_flood")),
        *((n, "bad_output") for n in ("equal_object", "equal_int", "metaclass", "huge_list", "self_reference", "forge_deep_json", "forge_verdict", "forge_before", "pipe_flood", "hash_collisions")),
        *((n, "memory") for n in ("memory_growth",)),
        *((n, "killed") for n in ("crash",)),
        *((n, "error") for n in ("system_exit", "exit_at_import", "hard_exit", "atexit", "odd_exceptions")),
        *((n, "wrong") for n in ("fork", "daemon", "fork_bomb", "thread_bomb", "loopback", "environment", "memory_bomb", "hidden_memory", "symlink", "device", "truthy", "constant", "forge_values")),
    ],
)  # fmt: skip
def test_the_status_of_a_hostile_program(aftermath, name, status):
    assert aftermath[0][name].reason.startswith(status)
