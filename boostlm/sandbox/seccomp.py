"""The seccomp filter: the only system calls that a check may make, as a classic BPF program.

A check needs memory, the clock, its scratch files, its own threads and one pipe. Everything else is
refused, so a call that the kernel gains later is refused too. The files of the host that a check
can see are mounted read-only, but a read-only descriptor is enough to take hold of what is behind
it: locks, leases, notifications, the page cache, the journal of a disk. No call that does so is in
the table, or `_RULES` leaves only its harmless forms. This holds for scratch files too, because a
filter cannot tell them apart: in a check, nothing can be locked.

The namespaces and limits in `confine` work without this filter.
"""

import ctypes
import errno
import platform
import re
import struct

# name, number on x86_64, number on aarch64; - if the architecture does not have the call
_ALLOWED = """
# memory, and descriptors that are open
mmap 9 222 | munmap 11 215 | brk 12 214 | mremap 25 216 | mprotect 10 226 | madvise 28 233
read 0 63 | write 1 64 | readv 19 65 | writev 20 66 | pread64 17 67 | pwrite64 18 68
preadv 295 69 | pwritev 296 70 | preadv2 327 286 | pwritev2 328 287 | lseek 8 62 | close 3 57
close_range 436 436 | dup 32 23 | dup2 33 - | dup3 292 24 | pipe 22 - | pipe2 293 59
fcntl 72 25 | ioctl 16 29 | fsync 74 82 | fdatasync 75 83 | msync 26 227 | ftruncate 77 46
fallocate 285 47 | fstat 5 80 | fstatfs 138 44 | fchmod 91 52 | fchdir 81 50 | getdents64 217 61
flistxattr 196 13 | fgetxattr 193 10
# paths
open 2 - | openat 257 56 | creat 85 - | stat 4 - | lstat 6 - | newfstatat 262 79
statx 332 291 | statfs 137 43 | access 21 - | faccessat 269 48 | faccessat2 439 439
readlink 89 - | readlinkat 267 78 | getcwd 79 17 | chdir 80 49 | mkdir 83 - | mkdirat 258 34
rmdir 84 - | rename 82 - | renameat 264 38 | renameat2 316 276 | link 86 - | linkat 265 37
symlink 88 - | symlinkat 266 36 | unlink 87 - | unlinkat 263 35 | chmod 90 - | fchmodat 268 53
truncate 76 45 | utime 132 - | utimes 235 - | utimensat 280 88 | umask 95 166 | listxattr 194 11
llistxattr 195 12 | getxattr 191 8 | lgetxattr 192 9
# waiting
poll 7 - | ppoll 271 73 | select 23 - | pselect6 270 72 | epoll_create 213 -
epoll_create1 291 20 | epoll_ctl 233 21 | epoll_wait 232 - | epoll_pwait 281 22
nanosleep 35 101 | clock_nanosleep 230 115 | pause 34 - | restart_syscall 219 128
sched_yield 24 124
# threads and signals
clone 56 220 | futex 202 98 | set_robust_list 273 99 | rseq 334 293 | set_tid_address 218 96
prctl 157 167 | exit 60 93 | exit_group 231 94 | rt_sigaction 13 134 | rt_sigprocmask 14 135
rt_sigreturn 15 139 | rt_sigpending 127 136 | rt_sigtimedwait 128 137 | rt_sigsuspend 130 133
sigaltstack 131 132 | kill 62 129 | tkill 200 130 | tgkill 234 131 | alarm 37 -
setitimer 38 103 | getitimer 36 102 | wait4 61 260 | waitid 247 95
# the check's own limits and what the kernel says
getpid 39 172 | gettid 186 178 | getppid 110 173 | getpgid 121 155 | getpgrp 111 -
getsid 124 156 | getuid 102 174 | geteuid 107 175 | getgid 104 176 | getegid 108 177
getresuid 118 148 | getresgid 120 150 | getgroups 115 158 | getpriority 140 141
getrlimit 97 163 | setrlimit 160 164 | prlimit64 302 261 | getrusage 98 165 | times 100 153
time 201 - | gettimeofday 96 169 | clock_gettime 228 113 | clock_getres 229 114
getrandom 318 278 | uname 63 160 | sysinfo 99 179 | getcpu 309 168 | sched_getaffinity 204 123
sched_getparam 143 121 | sched_getscheduler 145 120 | sched_get_priority_max 146 125
sched_get_priority_min 147 126 | sched_rr_get_interval 148 127 | capget 125 90
"""
_ANY = 0xFFFFFFFF
# name -> (argument, mask, values): the call is allowed if the masked argument is one of the values.
# Arguments are compared by their lower half, which is all that the kernel reads of these.
_RULES = {
    "mmap": ((3, 0x42000, (0,)),),  # not MAP_LOCKED, MAP_HUGETLB: they take the machine's memory
    "madvise": ((2, _ANY, (0, 1, 2, 4, 8, 14, 15, 16, 17)),),  # no PAGEOUT, COLD, WILLNEED, ...
    "fcntl": ((1, _ANY, (0, 1, 2, 3, 4, 1030, 1032)),),  # DUPFD, GETFD, SETFD, GETFL, SETFL, ...
    "ioctl": ((1, _ANY, (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)),),  # FIONREAD, ...
    "preadv2": ((5, _ANY, (0,)),),
    "pwritev2": ((5, _ANY, (0,)),),
    "clone": ((0, _ANY, (0x3D0F00, 0x7D0F00)),),  # a thread, as the C libraries start it
    "futex": ((1, 0x7F, (0, 1, 3, 4, 5, 9, 10)),),  # no priority inheritance
    "prctl": ((0, _ANY, (3, 15, 16, 21, 39)),),  # the thread's name, and questions
}
# On scratch files these do nothing, so they succeed without doing anything. On the host's files
# they would write its data and its journal to disk.
_DO_NOTHING = ("fsync", "fdatasync", "msync")
_NEW = 424  # the same numbers on both from here; ENOSYS makes the C library use an older call
_X32 = 0x40000000  # the x32 system call numbers of x86_64 start here
_AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}

_LOAD, _AND, _IF_EQUAL, _IF_AT_LEAST, _RETURN = 0x20, 0x54, 0x15, 0x35, 0x06  # BPF instructions
_NUMBER, _ARCH, _ARGUMENTS = 0, 4, 16  # offsets in struct seccomp_data
_ALLOW, _KILL, _ERRNO, _ASK = 0x7FFF0000, 0x80000000, 0x00050000, 0x7FC00000

ARCHITECTURES = tuple(_AUDIT_ARCH)
STEP = struct.Struct("=HBBI")  # struct sock_filter: code, jumps if true and if false, operand


class Filter(ctypes.Structure):
    """The C struct sock_fprog of a program."""

    _fields_ = [("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p)]

    def __init__(self, code: bytes) -> None:
        """Takes the bytes of an array of struct sock_filter."""
        super().__init__(len(code) // 8, code)


def numbers(machine: str) -> dict[str, int]:
    """The allowed calls of an architecture, by name."""
    column = 1 + ARCHITECTURES.index(machine)
    rows = (m.groups() for m in re.finditer(r"(\w+) (\d+|-) (\d+|-)", _ALLOWED))
    return {row[0]: int(row[column]) for row in rows if row[column] != "-"}


def _machine() -> str:
    machine = platform.machine()
    if machine not in _AUDIT_ARCH:
        raise OSError(f"no system call table for {machine!r}, only for {ARCHITECTURES}")
    return machine


def program() -> bytes:
    """The filter for this machine: the bytes of an array of struct sock_filter.

    Raises:
      OSError: this processor architecture has no table.
    """
    machine = _machine()
    code = [
        (_LOAD, 0, 0, _ARCH),
        (_IF_EQUAL, 1, 0, _AUDIT_ARCH[machine]),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER),
    ]
    if machine == "x86_64":
        code += [(_IF_AT_LEAST, 0, 1, _X32), (_RETURN, 0, 0, _KILL)]
    names = {number: name for name, number in numbers(machine).items()}
    bodies = [_body(number, names.get(number)) for number in range(max(_NEW, *names) + 2)]
    for number, body in reversed(list(enumerate(bodies))):  # neighbours with one verdict are one
        if number and body != bodies[number - 1]:
            code += [(_IF_AT_LEAST, 0, len(body), number), *body]
    return _packed([*code, *bodies[0]])


def _body(number: int, name: str | None) -> list[tuple[int, int, int, int]]:
    """The instructions that decide about one call; its name is None if it is refused."""
    if name is None:
        return [(_RETURN, 0, 0, _ERRNO | (errno.ENOSYS if number >= _NEW else errno.EPERM))]
    verdict = _ERRNO if name in _DO_NOTHING else _ALLOW
    checks = [step for rule in _RULES.get(name, ()) for step in _check(*rule)]
    return [*checks, (_RETURN, 0, 0, verdict)]


def _check(argument: int, mask: int, values: tuple[int, ...]) -> list[tuple[int, int, int, int]]:
    """Instructions that go on if the masked argument is one of `values`, and else refuse."""
    code = [(_LOAD, 0, 0, _ARGUMENTS + 8 * argument), (_AND, 0, 0, mask)]
    for left, value in zip(range(len(values), 0, -1), values):
        code.append((_IF_EQUAL, left, 0, value))
    return [*code, (_RETURN, 0, 0, _ERRNO | errno.EPERM)]


def thread_program() -> bytes:
    """A second filter, which asks the forking process before each new thread."""
    number = numbers(_machine())["clone"]
    code = [(_LOAD, 0, 0, _NUMBER), (_IF_EQUAL, 0, 1, number), (_RETURN, 0, 0, _ASK)]
    return _packed([*code, (_RETURN, 0, 0, _ALLOW)])


def _packed(code: list[tuple[int, int, int, int]]) -> bytes:
    return b"".join(STEP.pack(*instruction) for instruction in code)
