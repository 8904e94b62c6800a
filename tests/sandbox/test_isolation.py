"""The isolation of a check: as reported by the kernel, in its memory, and layer by layer."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from support.data_sets import REPOSITORY
from support.sandbox_kit import (
    HOSTILE,
    NAME,
    SECRET,
    SMALL,
    TRIPLE,
    descendants,
    labeled,
    need_sandbox,
    visited,
    wait_for,
)

from boostlm.sandbox import (
    Job,
    Limits,
    Sandbox,
    bubblewrap,
    seccomp,
    threads,
)
from boostlm.tasks.mbpp.check import judge

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def working():
    return need_sandbox()


def test_an_ordinary_user_can_use_the_sandbox(working):
    """It runs in a user namespace as user 1000, without capabilities and without root."""
    code = (
        "import os; assert os.getuid() == 1000; from boostlm.sandbox import *; "
        "s = Sandbox(workers=1).__enter__(); "
        "print(s.check_many([Job('def f(x): return x + 1', calls=('f(1)',))])[0].values); "
        "s.__exit__()"
    )
    wrapped = [working, "--unshare-user", "--uid", "1000", "--gid", "1000", "--cap-drop", "ALL"]
    wrapped += ["--dev-bind", "/", "/", "--chdir", str(REPOSITORY)]
    done = subprocess.run(
        [*wrapped, "--", sys.executable, "-B", "-c", code], capture_output=True, text=True
    )
    assert done.stdout == "(2,)\n", done.stderr


@pytest.fixture
def sleeping(working, monkeypatch):
    """(pid of a running check, its worker)"""
    monkeypatch.setenv("BOOSTLM_SECRET", SECRET)
    with Sandbox(workers=1, **SMALL) as sandbox:
        job = Job("import time\ntime.sleep(600)")
        thread = threading.Thread(target=sandbox.check_many, args=([job],))
        thread.start()

        def check():
            for p in descendants(sandbox._pool[0].process.pid):
                status = Path(f"/proc/{p}/status").read_text()
                if "Seccomp:\t2" in status and "State:\tS" in status:
                    return p  # confined and sleeping
            return None

        pid = wait_for(check)
        yield pid, sandbox._pool[0]
        os.kill(pid, signal.SIGKILL)
        thread.join()


def test_a_check_has_its_own_namespaces(sleeping):
    pid, its_worker = sleeping
    try:
        spaces = {n: os.readlink(f"/proc/{pid}/ns/{n}") for n in os.listdir(f"/proc/{pid}/ns")}
    except PermissionError:
        pytest.skip("only root may look at the namespaces of a process that hides its memory")
    for name in ("user", "pid", "net", "ipc", "uts", "mnt"):
        assert spaces[name] != os.readlink(f"/proc/self/ns/{name}"), name
    [forking] = [p for p in descendants(its_worker.process.pid) if pid in descendants(p)][-1:]
    for name in ("pid", "ipc", "mnt"):
        assert spaces[name] != os.readlink(f"/proc/{forking}/ns/{name}"), name
    devices = Path(f"/proc/{pid}/net/dev").read_text().splitlines()[2:]
    assert [line.split(":")[0].strip() for line in devices] == ["lo"]


def test_a_check_has_limits_and_no_privileges(sleeping):
    pid, _ = sleeping
    status = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line)  # fmt: skip
    assert {status[f"Cap{x}"] for x in ("Inh", "Prm", "Eff", "Amb")} == {"0" * 16}
    assert (status["NoNewPrivs"], status["Seccomp"], status["Threads"]) == ("1", "2", "1")
    inside = status["NSpid"].split()
    assert inside[-1] == "1"
    assert len(inside) >= 3
    limits = Path(f"/proc/{pid}/limits").read_text()
    for name, most in (
        ("Max cpu time", 2),
        ("Max address space", SMALL["memory_bytes"]),
        ("Max processes", threads.MOST + 8),
        ("Max file size", Limits().scratch_bytes),
        ("Max core file size", 0),
        ("Max open files", 64),
    ):
        assert re.search(rf"{name} +{most} +{most} ", limits), name


def test_a_check_sees_few_files_and_can_write_only_to_scratch(sleeping):
    pid, _ = sleeping
    try:
        mounts = [line.split() for line in Path(f"/proc/{pid}/mountinfo").read_text().splitlines()]
        files = {int(n): os.readlink(f"/proc/{pid}/fd/{n}") for n in os.listdir(f"/proc/{pid}/fd")}
        environment = Path(f"/proc/{pid}/environ").read_bytes()
    except PermissionError:
        pytest.skip("only root may look at the files of a process that hides its memory")
    writable = [m[4] for m in mounts if "ro" not in m[5].split(",")]
    assert writable == ["/tmp"]
    allowed = ("/", "/tmp", "/dev/null", "/etc/ld.so.cache", "/lib", "/usr/lib", "/boostlm/")
    allowed += (f"{sys.base_prefix}/lib", os.path.realpath(sys._base_executable))
    assert all(m[4] in allowed or m[4].startswith(allowed[4:]) for m in mounts)
    assert not any(m[4] == "/proc" or m[4].startswith("/sys") for m in mounts)
    assert [files[n] for n in range(3)] == ["/dev/null"] * 3
    assert sorted(files) == [0, 1, 2, 3]
    assert files[3].startswith("pipe:")
    assert SECRET.encode() not in environment
    assert b"PATH=" not in environment


SCAN = """
import ctypes, os
libc = ctypes.CDLL(None)
libc.sbrk.restype = ctypes.c_void_p
libc.write.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t]
read_end, write_end = os.pipe()

def copies(text):
    # Counts a text in and around the heap. write() fails without a crash on unmapped memory.
    found = 0
    top, near = libc.sbrk(0) & ~4095, id(object()) & ~4095
    for start, end in ((top - (1 << 26), top), (near - (1 << 26), near + (1 << 26))):
        for page in range(start, end, 4096):
            if libc.write(write_end, page, 4096) == 4096:
                found += os.read(read_end, 4096).count(text)
    return found
"""


def test_a_check_finds_no_trace_of_earlier_ones_in_its_memory(working):
    """The forking process must not keep the code or the values of another candidate."""
    leave = Job("def f():\n    return ('telltale-' + 'value ') * 50\n" + "# telltale-code\n" * 50, calls=("f()",))  # fmt: skip
    look = Job(SCAN, calls=("copies(b'-'.join([b'telltale', b'value']))", "copies(b'-'.join([b'telltale', b'code']))"))  # fmt: skip
    plant = "planted = [str(n) + '-'.join(['telltale', 'value']) for n in range(50)]"
    control = Job(SCAN + plant, calls=look.calls)
    with Sandbox(workers=1, cpu_seconds=20.0) as sandbox:
        pid = sandbox._pool[0].process.pid
        outcomes = sandbox.check_many([leave] * 5 + [look, control])
        assert sandbox._pool[0].process.pid == pid
    assert outcomes[0].values == ("telltale-value " * 50,)
    assert outcomes[6].values[0] >= 50, "the scan must see what is there"
    assert max(outcomes[5].values) < 10, "bytes of an earlier check"  # the scan itself leaves a few


def test_namespaces_hold_without_the_system_call_filter(working, monkeypatch, tmp_path):
    """Defence in depth: a check may fork and open sockets, but none survives and none connects."""
    package = Path(bubblewrap.__file__).parent
    for path in package.glob("*.py"):
        text = path.read_text()
        text = re.sub(r"_ERRNO \| (errno.EPERM|\(errno[^)]*\))", "_ALLOW", text)
        (tmp_path / path.name).write_text(text)
    monkeypatch.setattr(bubblewrap, "__file__", str(tmp_path / "bubblewrap.py"))
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.socket(socket.AF_UNIX) as abstract,
        Sandbox(workers=2, **SMALL) as sandbox,
    ):
        abstract.bind(f"\0{NAME}-2")
        abstract.listen()
        names = (
            "fork daemon kill_parent kill_all namespaces loopback unix_socket outside mount chroot"
        )
        codes = {n: HOSTILE[n].read_text() for n in (*names.split(), "raise_limits", "privileges")}
        tokens = {"@PORT@": server.getsockname()[1], "@ABSTRACT@": f"{NAME}-2", "@MARK@": "/tmp/m"}
        for token, value in tokens.items():
            codes = {n: code.replace(token, str(value)) for n, code in codes.items()}
        verdicts = dict(zip(codes, judge([TRIPLE] * len(codes), list(codes.values()), sandbox)))
        assert verdicts["fork"].passed, "the filter was not taken out: this test shows nothing"
        assert [n for n, v in verdicts.items() if v.passed] in (
            ["fork", "daemon"],
            ["fork", "daemon", "namespaces"],  # its own user namespace gives no rights outside
        )
        assert not visited(server)
        assert not visited(abstract)
        assert len(labeled(sandbox.label)) <= 3 * 2
    assert labeled(sandbox.label) == []


def test_the_kernel_accepts_the_filter_and_it_covers_both_architectures(monkeypatch):
    for machine in seccomp.ARCHITECTURES:
        monkeypatch.setattr("platform.machine", lambda machine=machine: machine)
        code = seccomp.program()
        assert len(code) % 8 == 0
        assert 100 < len(code) // 8 < 4096
    monkeypatch.setattr("platform.machine", lambda: "sparc")
    with pytest.raises(OSError, match="sparc"):
        seccomp.program()


@pytest.mark.parametrize(("machine", "header", "prefix"), [
    ("x86_64", "/usr/include/x86_64-linux-gnu/asm/unistd_64.h", "__NR_"),
    ("aarch64", "/usr/include/asm-generic/unistd.h", "__NR_"),
])  # fmt: skip
def test_the_system_call_numbers_match_the_kernel_headers(machine, header, prefix):
    if not os.path.exists(header):
        pytest.skip(f"no kernel header at {header}")
    text = Path(header).read_text()
    numbers = dict(re.findall(rf"#define {prefix}(\w+)\s+(\d+)", text))
    for name, of in re.findall(rf"#define {prefix}(\w+) __NR3264_(\w+)", text):
        if found := re.search(rf"#define __NR3264_{of} (\d+)", text):
            numbers[name] = found[1]
    known = seccomp.numbers(machine)
    assert known == {name: int(numbers[name]) for name in known}
    missing = set(seccomp.numbers("x86_64")) - set(known)
    assert not missing & set(numbers), "calls of x86_64 that this architecture has, too"
