"""A check takes hold of no object of the host: no lock, lease, notification, cache or journal."""

import platform

import pytest
from support.sandbox_kit import SMALL, need_sandbox

from boostlm.sandbox import Job, Sandbox, seccomp

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(platform.machine() != "x86_64", reason="numbers of its system calls"),
]

TOOLS = """
import array, ctypes, errno, fcntl, mmap, os, struct, tempfile
libc = ctypes.CDLL(None, use_errno=True)
FILE, NULL, SCRATCH = os.__file__, "/dev/null", "/tmp/file"
FOLDER = os.path.dirname(FILE)
open(SCRATCH, "w").write("x" * 5000)
PAGE = ctypes.create_string_buffer(8192)
LOCK = lambda kind: struct.pack("hhqqi4x", kind, 0, 0, 0, 0)

def attempt(action, path=None, flags=os.O_RDONLY):
    fd = None if path is None else os.open(path, flags)
    try:
        return action() if fd is None else action(fd)
    except OSError as e:
        return errno.errorcode[e.errno]
    finally:
        if fd is not None:
            os.close(fd)

def call(number, *arguments):
    ctypes.set_errno(0)
    got = libc.syscall(*[ctypes.c_long(a) if type(a) is int else a for a in (number, *arguments)])
    return got if got >= 0 else errno.errorcode[ctypes.get_errno()]

def mapped(advice):
    with open(FILE, "rb") as f:
        libc.mmap.restype = ctypes.c_void_p
        start = libc.mmap(None, 4096, mmap.PROT_READ, mmap.MAP_PRIVATE, f.fileno(), 0)
        return call(28, ctypes.c_void_p(start), 4096, advice)

def spliced(number):
    r, w = os.pipe()
    return attempt(lambda fd: call(number, fd, None, w, None, 100, 0), FILE)
"""

HELD = {
    "write lease": "attempt(lambda fd: fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK), FILE)",
    "read lease": "attempt(lambda fd: fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK), FILE)",
    "lease of a scratch file": "attempt(lambda fd: fcntl.fcntl(fd, 1024, 1), SCRATCH)",
    "delegation": "attempt(lambda fd: call(72, fd, 1040, PAGE), FOLDER)",
    "notification": "attempt(lambda fd: fcntl.fcntl(fd, fcntl.F_NOTIFY, 0x80000001), FOLDER)",
    "read lock": "attempt(lambda fd: fcntl.fcntl(fd, fcntl.F_SETLK, LOCK(0)), FILE)",
    "write lock of null": "attempt(lambda fd: fcntl.fcntl(fd, 6, LOCK(1)), NULL, os.O_RDWR)",
    "write lock of standard output": "attempt(lambda: fcntl.fcntl(1, fcntl.F_SETLK, LOCK(1)))",
    "lock with waiting": "attempt(lambda fd: fcntl.fcntl(fd, fcntl.F_SETLKW, LOCK(0)), FILE)",
    "lockf": "attempt(lambda: fcntl.lockf(1, fcntl.LOCK_EX | fcntl.LOCK_NB))",
    "lock of a description": "attempt(lambda fd: fcntl.fcntl(fd, 37, LOCK(0)), FILE)",
    "lock of a description, waiting": "attempt(lambda fd: fcntl.fcntl(fd, 38, LOCK(0)), FILE)",
    "lock of null's description": "attempt(lambda: fcntl.fcntl(0, 37, LOCK(1)))",
    "flock": "attempt(lambda fd: fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB), FILE)",
    "shared flock": "attempt(lambda fd: fcntl.flock(fd, fcntl.LOCK_SH), FILE)",
    "flock of null": "attempt(lambda: fcntl.flock(0, fcntl.LOCK_EX | fcntl.LOCK_NB))",
    "flock of a folder": "attempt(lambda fd: fcntl.flock(fd, fcntl.LOCK_EX), FOLDER)",
    "owner of signals": "attempt(lambda fd: call(72, fd, 8, 1), FILE)",
    "owner of signals, extended": "attempt(lambda fd: call(72, fd, 15, PAGE), FILE)",
    "signal": "attempt(lambda fd: call(72, fd, 10, 12), FILE)",
    "seal": "attempt(lambda fd: call(72, fd, 1033, 1), FILE)",
    "pipe size": "attempt(lambda: call(72, os.pipe()[0], 1031, 1 << 20))",
    "write hint": "attempt(lambda fd: call(72, fd, 1036, PAGE), FILE)",
    "asynchronous input": "attempt(lambda fd: call(16, fd, 0x5452, PAGE), FILE)",
    "extents, written out": "attempt(lambda fd: call(16, fd, 0xC020660B, PAGE), FILE)",
    "file flags": "attempt(lambda fd: call(16, fd, 0x80086601, PAGE), FILE)",
    "change of file flags": "attempt(lambda fd: call(16, fd, 0x40086602, PAGE), FILE)",
    "freeze": "attempt(lambda fd: call(16, fd, 0xC0045877, 0), FOLDER)",
    "encryption key": "attempt(lambda fd: call(16, fd, 0xC0506617, PAGE), FOLDER)",
    "verity": "attempt(lambda fd: call(16, fd, 0x40806685, PAGE), FILE)",
    "clone of a range": "attempt(lambda fd: call(16, os.open(SCRATCH, 2), 0x40049409, fd), FILE)",
    "inotify": "call(294, 0)",
    "old inotify": "call(253)",
    "fanotify": "call(300, 0, 0)",
    "handle": "call(303, -100, FILE.encode(), PAGE, ctypes.byref(ctypes.c_int()), 0)",
    "quota": "call(179, 0x80000700, None, 0, PAGE)",
    "readahead": "attempt(lambda fd: call(187, fd, 0, 4096), FILE)",
    "eviction": "attempt(lambda fd: os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED), FILE)",
    "eviction of a mapping": "mapped(21)",
    "cold mapping": "mapped(20)",
    "reading ahead of a mapping": "mapped(3)",
    "merging of pages": "call(28, ctypes.c_void_p((ctypes.addressof(PAGE) + 4095) & -4096), 4096, 12)",
    "what is cached": "call(27, ctypes.c_void_p(id(len) & -4096), 4096, PAGE)",
    "cache statistics": "attempt(lambda fd: call(451, fd, PAGE, PAGE, 0), FILE)",
    "range written out": "attempt(lambda fd: call(277, fd, 0, 0, 7), FILE)",
    "file system written out": "attempt(lambda fd: call(306, fd), FOLDER)",
    "locked memory": "call(149, PAGE, 4096)",
    "all memory locked": "call(151, 1)",
    "locked mapping": "attempt(lambda: mmap.mmap(-1, 4096, 0x22 | 0x2000))",
    "huge page": "attempt(lambda: mmap.mmap(-1, 1 << 21, 0x22 | 0x40000))",
    "splice": "spliced(275)",
    "tee": "call(276, os.pipe()[0], os.pipe()[1], 10, 0)",
    "sendfile": "attempt(lambda fd: os.sendfile(os.pipe()[1], fd, 0, 10), FILE)",
    "moved pages": "call(279, 0, 0, PAGE, PAGE, PAGE, 0)",
    "lock with inheritance": "call(202, PAGE, 6, 0, None)",
    "barrier on all cores": "call(324, 1, 0)",
    "bytes to the journal of null": "attempt(lambda: os.fsync(0))",
    "bytes to the journal": "attempt(lambda fd: os.fdatasync(fd), NULL)",
}  # fmt: skip
DONE_AS_NOTHING = ("bytes to the journal of null", "bytes to the journal")

FREE = {
    "read": "attempt(lambda fd: len(os.read(fd, 10)), FILE)",
    "vector read": "attempt(lambda fd: os.preadv(fd, [bytearray(10)], 5), FILE)",
    "vector write": "attempt(lambda fd: os.pwritev(fd, [b'0123456789'], 5), SCRATCH, os.O_RDWR)",
    "seek": "attempt(lambda fd: os.lseek(fd, 10, 0), FILE)",
    "list": "10 * ('os.py' in os.listdir(FOLDER))",
    "walk": "10 * any('calendar.py' in names for _, _, names in os.walk(FOLDER))",
    "map": "attempt(lambda fd: len(mmap.mmap(fd, 10, prot=mmap.PROT_READ)), FILE)",
    "map and flush": "attempt(lambda fd: 10 + int(mmap.mmap(fd, 10).flush() or 0), SCRATCH, os.O_RDWR)",
    "anonymous map": "attempt(lambda: len(mmap.mmap(-1, 10)))",
    "advice": "attempt(lambda: 10 + int(mmap.mmap(-1, 10).madvise(mmap.MADV_DONTNEED) or 0))",
    "duplicate": "attempt(lambda fd: 10 * (fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 20) >= 20), FILE)",
    "descriptor's flags": "attempt(lambda fd: 9 + fcntl.fcntl(fd, fcntl.F_GETFD), FILE)",
    "blocking": "attempt(lambda: 10 + int(os.set_blocking(os.pipe()[0], False) or 0))",
    "terminal": "attempt(lambda fd: 10 + os.isatty(fd), FILE)",
    "flush of a file": "attempt(lambda fd: 10 + int(os.fsync(fd) or 0), SCRATCH, os.O_RDWR)",
    "temporary file": "len(__import__('tempfile').NamedTemporaryFile('w').name[:10])",
    "copy": "10 * (__import__('shutil').copy2(FILE, '/tmp/copy') == '/tmp/copy')",
    "copied tree": "10 * bool(__import__('shutil').copytree(FOLDER + '/json', '/tmp/json'))",
    "rename": "10 + int(os.rename(SCRATCH, '/tmp/other') or 0)",
    "link": "10 + int(os.symlink(SCRATCH, '/tmp/link') or 0)",
    "mode": "10 + int(os.chmod(SCRATCH, 0o600) or 0)",
    "times": "10 + int(os.utime(SCRATCH) or 0)",
    "length": "10 + int(os.truncate(SCRATCH, 5) or 0)",
    "space": "10 + attempt(lambda fd: int(os.posix_fallocate(fd, 0, 50) or 0), SCRATCH, os.O_RDWR)",
    "pipe": "os.write(os.pipe()[1], b'0123456789')",
    "poll": "10 + len(__import__('select').poll().poll(1))",
    "epoll": "10 + len(__import__('select').epoll().poll(0.01))",
    "timer": "10 + __import__('signal').alarm(0)",
    "randomness": "len(os.urandom(10))",
    "limits": "10 * (len(__import__('resource').getrlimit(0)) == 2)",
    "machine": "10 * (os.uname().sysname == 'Linux')",
    "cores": "10 * (len(os.sched_getaffinity(0)) >= 1)",
    "database in memory": "10 * __import__('sqlite3').connect(':memory:').execute('select 1').fetchone()[0]",
    "compressed file": "__import__('gzip').open('/tmp/z', 'wb').write(b'0123456789')",
    "shelf": "10 + int(__import__('dbm.dumb').dumb.open('/tmp/d', 'c').sync() or 0)",
}  # fmt: skip


@pytest.fixture(scope="module")
def outcomes():
    need_sandbox()
    table = HELD | FREE
    with Sandbox(workers=2, **SMALL) as sandbox:
        found = sandbox.check_many([Job(TOOLS, "", (text,)) for text in table.values()])
    return dict(zip(table, found))


@pytest.mark.parametrize("name", HELD)
def test_no_object_of_the_host_is_taken_hold_of(outcomes, name):
    due = (None,) if name in DONE_AS_NOTHING else ("EPERM",)
    assert outcomes[name].status == "ok", outcomes[name]
    # ENOSYS: the call is newer than the table
    assert outcomes[name].values in (due, ("ENOSYS",)), outcomes[name]


@pytest.mark.parametrize("name", FREE)
def test_what_takes_hold_of_nothing_works(outcomes, name):
    assert outcomes[name].values == (10,), outcomes[name]


def run_filter(code, number, *arguments):
    """What the filter answers, by an interpreter of its few instructions."""
    data = {0: number, 4: 0xC000003E, **{16 + 8 * i: a for i, a in enumerate(arguments)}}
    steps = [seccomp.STEP.unpack_from(code, i) for i in range(0, len(code), 8)]
    place = register = 0
    while True:
        what, yes, no, value = steps[place]
        place += 1
        if what == 0x20:
            register = data.get(value, 0)
        elif what == 0x54:
            register &= value
        elif what == 0x06:
            return value
        else:
            place += yes if (register == value if what == 0x15 else register >= value) else no


def test_a_call_that_is_not_in_the_table_is_refused_whatever_its_number():
    code, known = seccomp.program(), seccomp.numbers("x86_64")
    free = {known[name] for name in known if name not in seccomp._RULES | {"fsync": 0, "fdatasync": 0, "msync": 0}}  # fmt: skip
    for number in range(1000):
        answer = run_filter(code, number)
        if number in free:
            assert answer == 0x7FFF0000
        elif number not in known.values():
            assert answer == 0x00050000 | (38 if number >= 424 else 1)
    assert run_filter(code, 0x40000000 + known["read"]) == 0x80000000
    assert run_filter(code, known["fsync"]) == 0x00050000
    assert run_filter(code, known["clone"], 0x3D0F00) == 0x7FFF0000
    for flags in (0, 17, 0x3D0F00 | 0x20000000, 0x3D0F00 & ~0x10000, 0x10000, 0x3D0F11):
        assert run_filter(code, known["clone"], flags) == 0x00050001
