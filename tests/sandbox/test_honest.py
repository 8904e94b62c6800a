"""Honest programs pass: threads, pools, asyncio, the builtins of `site`, numpy where it is allowed."""

import subprocess
import sys

import pytest
from support.data_sets import REPOSITORY
from support.sandbox_kit import SMALL, TRIPLE, need_sandbox, run

from boostlm.errors import BoostError
from boostlm.sandbox import Job, Sandbox, SandboxError, threads
from boostlm.sandbox.packages import locate
from boostlm.tasks.mbpp.task import MbppAnswerKey

pytestmark = pytest.mark.slow

ASYNC = "import asyncio\nasync def g(x):\n    await asyncio.sleep(0.01)\n    return x\n"
# Each program's f() returns 7.
HONEST = {
    "thread": "import threading\ndef f():\n    r = []\n    t = threading.Thread(target=r.append, args=(7,))\n    t.start()\n    t.join()\n    return r[0]",
    "hundred threads": "import threading\ndef f():\n    e = threading.Event()\n    ts = [threading.Thread(target=e.wait) for _ in range(100)]\n    for t in ts: t.start()\n    e.set()\n    for t in ts: t.join()\n    return 7",
    "threads one by one": "import threading\ndef f():\n    for _ in range(60):\n        t = threading.Thread(target=len, args=('',))\n        t.start()\n        t.join()\n    return 7",
    "daemon": "import threading, time\nthreading.Thread(target=time.sleep, args=(60,), daemon=True).start()\ndef f(): return 7",
    "thread that is not joined": "import threading, time\ndef f():\n    threading.Thread(target=time.sleep, args=(60,)).start()\n    return 7",
    "timer": "import threading\ndef f():\n    e = threading.Event()\n    threading.Timer(0.01, e.set).start()\n    return 7 * e.wait(5)",
    "thread's local": "import threading\nl = threading.local()\nl.x = 7\ndef f():\n    t = threading.Thread(target=lambda: setattr(l, 'x', 1))\n    t.start()\n    t.join()\n    return l.x",
    "deep recursion in a thread": "import threading\ndef d(n): return 0 if n == 0 else 1 + d(n - 1)\ndef f():\n    r = []\n    t = threading.Thread(target=lambda: r.append(d(900)))\n    t.start()\n    t.join()\n    return 7 * (r == [900])",
    "larger stack": "import threading, sys\nsys.setrecursionlimit(10**5)\nthreading.stack_size(64 * 2**20)\ndef d(n): return 0 if n == 0 else 1 + d(n - 1)\ndef f():\n    r = []\n    t = threading.Thread(target=lambda: r.append(d(5000)))\n    t.start()\n    t.join()\n    return 7 * (r == [5000])",
    "low-level thread": "import _thread\ndef f():\n    l = _thread.allocate_lock()\n    l.acquire()\n    _thread.start_new_thread(l.release, ())\n    return 7 * l.acquire(timeout=5)",
    "queue between threads": "import queue, threading\ndef f():\n    q = queue.Queue(1)\n    threading.Thread(target=lambda: [q.put(i) for i in range(8)]).start()\n    return [q.get() for _ in range(8)][-1]",
    "thread pool": "from concurrent.futures import ThreadPoolExecutor\ndef f():\n    with ThreadPoolExecutor() as p: return sum(p.map(int, '1111111'))",
    "as completed": "from concurrent.futures import ThreadPoolExecutor, as_completed\ndef f():\n    with ThreadPoolExecutor(4) as p: return sum(x.result() for x in as_completed([p.submit(int, '1') for _ in range(7)]))",
    "pool of multiprocessing": "from multiprocessing.pool import ThreadPool\ndef f():\n    with ThreadPool(4) as p: return sum(p.map(int, '1111111'))",
    "dummy processes": "from multiprocessing.dummy import Pool\ndef f():\n    with Pool(4) as p: return sum(p.imap_unordered(int, '1111111'))",
    "asyncio": ASYNC + "def f(): return asyncio.run(g(7))",
    "gather": ASYNC + "async def h(): return sum(await asyncio.gather(*map(g, range(4)))) + 1\ndef f(): return asyncio.run(h())",
    "event loop": ASYNC + "def f():\n    loop = asyncio.new_event_loop()\n    try: return loop.run_until_complete(g(7))\n    finally: loop.close()",
    "to_thread": ASYNC + "async def h(): return await asyncio.to_thread(int, '7')\ndef f(): return asyncio.run(h())",
    "asyncio queue": ASYNC + "async def h():\n    q = asyncio.Queue()\n    asyncio.get_running_loop().call_soon(q.put_nowait, 7)\n    return await q.get()\ndef f(): return asyncio.run(h())",
    "asyncio twice": ASYNC + "def f(): return asyncio.run(g(3)) + asyncio.run(g(4))",
    "call from a thread": ASYNC + "import threading\nasync def h():\n    done, loop = asyncio.Event(), asyncio.get_running_loop()\n    threading.Timer(0.05, lambda: loop.call_soon_threadsafe(done.set)).start()\n    await asyncio.wait_for(done.wait(), 5)\n    return 7\ndef f(): return asyncio.run(h())",
    "asyncio timeout": ASYNC + "async def h():\n    try: await asyncio.wait_for(asyncio.sleep(60), 0.05)\n    except asyncio.TimeoutError: return 7\ndef f(): return asyncio.run(h())",
    "signal in a loop": ASYNC + "import signal\nasync def h():\n    done, loop = asyncio.Event(), asyncio.get_running_loop()\n    loop.add_signal_handler(signal.SIGALRM, done.set)\n    signal.setitimer(signal.ITIMER_REAL, 0.05)\n    await asyncio.wait_for(done.wait(), 5)\n    return 7\ndef f(): return asyncio.run(h())",
    "mark at the start": "\ufeffdef f(): return 7",
    "exit in a branch": "def f():\n    if 7 < 0: exit()\n    return 7",
    "exit caught": "def f():\n    try: exit(7)\n    except SystemExit as e: return e.code",
    "quit caught": "def f():\n    try: quit(7)\n    except SystemExit as e: return e.code",
    "help": "def f():\n    help(len)\n    return 7",
    "help for a function of its own": "def f():\n    'Returns 7.'\n    help(f)\n    return 7",
    "notices": "def f(): return 7 * all(map(callable, (exit, quit, help, copyright, credits, license)))",
    "timeout by a signal": "import signal\ndef f():\n    def stop(*_): raise TimeoutError\n    signal.signal(signal.SIGALRM, stop)\n    try:\n        signal.setitimer(signal.ITIMER_REAL, 0.05)\n        while True: pass\n    except TimeoutError: return 7",
    "timing": "import time\ndef f():\n    start = time.perf_counter()\n    time.sleep(0.01)\n    return 7 * (time.perf_counter() > start)",
}  # fmt: skip
REFUSED = {
    "exit at the end": ("def f(): return 7\nexit()", "error", "SystemExit"),
    "quit with a text": ("def f(): return 7\nquit('done')", "error", "SystemExit: done"),
    "process pool": ("from concurrent.futures import ProcessPoolExecutor\ndef f():\n    with ProcessPoolExecutor(1) as p: return p.submit(int, '7').result()", "error", ""),
    "process": ("import multiprocessing\ndef f():\n    p = multiprocessing.Process(target=int)\n    p.start()\n    return 7", "error", "PermissionError"),
    "pair of sockets": ("import socket\ndef f(): return socket.socketpair() and 7", "error", "PermissionError"),
    "connection": ("import asyncio\nasync def g(): await asyncio.open_connection('127.0.0.1', 80)\ndef f(): return asyncio.run(g())", "error", ""),
    "numpy": ("import numpy\ndef f(): return 7", "error", "ModuleNotFoundError"),
}  # fmt: skip


@pytest.fixture(scope="module")
def sandbox():
    need_sandbox()
    with Sandbox(workers=1) as running:
        yield running


@pytest.mark.parametrize("name", HONEST)
def test_an_honest_program_passes(sandbox, name):
    got = run(sandbox, HONEST[name], "f()")
    assert (got.status, got.values) == ("ok", (7,)), got


@pytest.mark.parametrize("name", REFUSED)
def test_what_no_check_may_do_stays_refused(sandbox, name):
    code, status, detail = REFUSED[name]
    got = run(sandbox, code, "f()")
    assert got.status == status
    assert detail in got.detail


BOMB = """
import threading, time
threading.stack_size(32768)
def f():
    for n in range(2000):
        try:
            threading.Thread(target={target}, daemon=True).start()
        except RuntimeError:
            return n
"""


@pytest.mark.parametrize("target", ["lambda: time.sleep(60)", "int"], ids=["sleep", "end"])
def test_a_check_starts_a_limited_number_of_threads(sandbox, target):
    """Root's processes have no other limit, and its sandbox is root's."""
    for _ in range(2):
        assert run(sandbox, BOMB.format(target=target), "f()").values == (threads.MOST,)


def test_a_check_cannot_answer_for_the_forking_process(sandbox):
    """It holds neither the listener nor the socket that passed it on, and can make no other."""
    code = (
        "import ctypes, os\nlibc = ctypes.CDLL(None)\n"
        "def held(fd):\n    try: os.fstat(fd)\n    except OSError: return False\n    return True\n"
        "def f(): return [fd for fd in range(2000) if held(fd)], libc.prctl(22, 2, 0), "
        "libc.syscall(317, 1, 8, 0), libc.syscall(277, 1, 8, 0)"
    )
    assert run(sandbox, code, "f()").values == (([0, 1, 2, 3], -1, -1, -1),)


def test_an_ordinary_user_can_run_threads():
    code = (
        "import os; assert os.getuid() == 1000; from boostlm.sandbox import *; "
        f"s = Sandbox(workers=1).__enter__(); print([o.values for o in s.check_many([Job(c, '', "
        f"('f()',)) for c in {[HONEST['thread pool'], HONEST['to_thread'], BOMB.format(target='int')]!r}])]); s.__exit__()"
    )
    wrapped = [need_sandbox(), "--unshare-user", "--uid", "1000", "--gid", "1000"]
    wrapped += ["--cap-drop", "ALL", "--dev-bind", "/", "/", "--chdir", str(REPOSITORY), "--"]
    done = subprocess.run([*wrapped, sys.executable, "-B", "-c", code], capture_output=True, text=True)  # fmt: skip
    assert done.stdout == f"[(7,), (7,), ({threads.MOST},)]\n", done.stderr


# numpy, where the user allows it

NUMPY = {
    "np.arange(5).sum()": 10,
    "np.float64(0.1)": 0.1,
    "np.float32(0.5)": 0.5,
    "[np.int8(3), np.uint64(2**64 - 1), np.bool_(True)]": [3, 2**64 - 1, True],
    "{np.str_('a'): (np.bytes_(b'b'), np.complex128(1j))}": {"a": (b"b", 1j)},
    "np.array([1.5, 2.5]).tolist()": [1.5, 2.5],
    "list(np.sort([3, 1, 2]))": [1, 2, 3],
    "int(np.linalg.det(np.eye(200)))": 1,
    "np.median([1, 2, 3])": 2.0,
    "np.float64(-0.0)": -0.0,
}


@pytest.fixture(scope="module")
def with_numpy():
    need_sandbox()
    pytest.importorskip("numpy")
    with Sandbox(workers=1, packages=("numpy",)) as running:
        yield running


@pytest.mark.parametrize("text", NUMPY)
def test_numpys_scalars_arrive_as_plain_values(with_numpy, text):
    [value] = run(with_numpy, "import numpy as np", text).values
    assert (value, type(value), repr(value)) == (NUMPY[text], type(NUMPY[text]), repr(NUMPY[text]))


@pytest.mark.parametrize(
    "text", ["np.zeros(3)", "np.longdouble(1)", "np.datetime64('2020-01-01')", "np.zeros(1, 'i4,i4')[0]",
             "type('Mine', (np.float64,), {})(1)"],
)  # fmt: skip
def test_what_has_no_plain_value_is_refused(with_numpy, text):
    assert run(with_numpy, "import numpy as np", text).status == "bad_output"


def test_numpys_draws_are_the_same_in_every_check(with_numpy):
    calls = ("np.random.rand()", "np.random.randint(1000)")
    first = run(with_numpy, "import numpy as np", *calls)
    assert first.status == "ok"
    assert run(with_numpy, "import numpy as np", *calls) == first


def test_a_check_with_numpy_is_confined_like_any_other(with_numpy):
    code = (
        "import os, numpy\ndef f():\n    try: open(numpy.__file__, 'a')\n"
        "    except OSError as e: return e.errno, sorted(os.listdir('/packages'))"
    )
    number, seen = run(with_numpy, code, "f()").values[0]
    assert number == 30
    assert "numpy" in seen
    assert not any("jax" in name or "info" in name for name in seen)


def test_the_answer_key_takes_the_packages():
    need_sandbox()
    pytest.importorskip("numpy")
    code = "import numpy\ndef triple(x):\n    return numpy.int64(3) * x"
    assert MbppAnswerKey([TRIPLE], ("numpy",)).grade([0], [code]).tolist() == [True]
    assert MbppAnswerKey([TRIPLE]).grade([0], [code]).tolist() == [False]


@pytest.mark.parametrize("name", ["no-such-package", "", "numpy.linalg", "../numpy"])
def test_a_package_that_is_not_installed_is_named(name):
    with pytest.raises(BoostError, match=r"is not installed"):
        Sandbox(packages=(name,))


def test_a_package_that_fails_at_import_is_named(monkeypatch, tmp_path):
    folder = tmp_path / "broken-1.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1\n")
    (folder / "RECORD").write_text("broken.py,,\n")
    (tmp_path / "broken.py").write_text("raise ImportError('half of it is missing')")
    monkeypatch.syspath_prepend(str(tmp_path))
    need_sandbox()
    assert locate(("broken",)).modules == ("broken",)
    with pytest.raises(
        SandboxError, match=r"(?s)with the packages broken: .*half of it is missing"
    ):
        Sandbox(workers=1, packages=("broken",), **SMALL).__enter__().check_many([Job("")])
