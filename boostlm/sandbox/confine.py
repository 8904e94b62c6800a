"""Confines the calling process: namespaces, scratch space, limits, privileges, system calls.

This runs inside bubblewrap, with a read-only root and without network, /proc and environment. The
forking process keeps one capability, CAP_SYS_ADMIN, to give each check its own pid namespace. The
check is pid 1 in it, cannot see or signal other processes, and the kernel kills everything in the
namespace when the check ends.
"""

import ctypes
import math
import os
import resource
from typing import Any

from boostlm.sandbox import seccomp, threads

RESULT_FD = 3  # a check's only open file besides /dev/null

_CLONE_NEWPID, _CLONE_NEWNS, _CLONE_NEWIPC = 0x20000000, 0x00020000, 0x08000000
_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_NOEXEC, _MS_REMOUNT = 1, 2, 4, 8, 32
_MS_BIND, _MS_REC, _MS_PRIVATE = 0x1000, 0x4000, 0x40000
_PR_SET_DUMPABLE, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 4, 22, 38
_SECCOMP_MODE_FILTER = 2
_CAPABILITY_VERSION = 0x20080522
_OPEN_FILES = 64
_HIGHEST_FD = 1024  # above any descriptor that the forking process can have open
_SCRATCH_FILES = 256
_OTHER_PROCESSES = 8  # at least bubblewrap's and the forking process; the limit counts them too

_libc = ctypes.CDLL(None, use_errno=True)


_filter = seccomp.Filter(seccomp.program())


def _call(name: str, *arguments: Any) -> None:
    if getattr(_libc, name)(*arguments) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")


def prepare() -> None:
    """Prepares the forking process, once: hides its memory and makes /dev/null read-only.

    Raises:
      OSError: a system call failed.
    """
    _call("prctl", _PR_SET_DUMPABLE, 0, 0, 0, 0)
    flags = _MS_REMOUNT | _MS_BIND | _MS_RDONLY | _MS_NOSUID | _MS_NOEXEC
    _call("mount", None, b"/dev/null", None, flags, None)


def next_child_in_new_pid_namespace(self_pidfd: int) -> None:
    """Makes the next child pid 1 of a new pid namespace.

    A process can set a new pid namespace for its children only once, so this first resets it.

    Args:
      self_pidfd: a pidfd of the calling process.
    """
    _call("setns", self_pidfd, _CLONE_NEWPID)
    _call("unshare", _CLONE_NEWPID)


def confine(result_fd: int, limits: dict, counter: threads.Counter) -> None:
    """Drops everything that a check does not need. `result_fd` becomes RESULT_FD.

    Args:
      result_fd: the write end of the pipe for the values.
      limits: the fields of `jobs.Limits`.
      counter: sends the forking process the descriptor that permits threads.

    Raises:
      OSError: a system call failed. The caller must not run the candidate.
    """
    os.setsid()  # process groups span pid namespaces: kill(0) would signal the parent
    _call("unshare", _CLONE_NEWNS | _CLONE_NEWIPC)
    _call("mount", b"none", b"/", None, _MS_REC | _MS_PRIVATE, None)
    options = f"mode=0700,size={limits['scratch_bytes']},nr_inodes={_SCRATCH_FILES}"
    flags = _MS_NOSUID | _MS_NODEV | _MS_NOEXEC
    _call("mount", b"tmpfs", b"/tmp", b"tmpfs", flags, options.encode())
    os.chdir("/tmp")
    os.umask(0o077)
    _set_limits(limits)
    _drop_privileges(counter)
    # A check could chmod the host's /dev/null through an inherited descriptor. This /dev/null is on
    # a read-only mount.
    null = os.open("/dev/null", os.O_RDWR)
    for fd in range(RESULT_FD):
        os.dup2(null, fd)
    os.dup2(result_fd, RESULT_FD, inheritable=False)
    os.closerange(RESULT_FD + 1, _HIGHEST_FD)


def _set_limits(limits: dict) -> None:
    # RLIMIT_CPU has whole seconds, counted by ticks. It backs up the parent's exact limit.
    cpu = math.ceil(limits["cpu_seconds"]) + 1
    for which, most in (
        (resource.RLIMIT_AS, limits["memory_bytes"]),
        (resource.RLIMIT_CPU, cpu),
        (resource.RLIMIT_FSIZE, limits["scratch_bytes"]),
        (resource.RLIMIT_NOFILE, _OPEN_FILES),
        (resource.RLIMIT_NPROC, threads.MOST + _OTHER_PROCESSES),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_MEMLOCK, 0),
        (resource.RLIMIT_MSGQUEUE, 0),
        (resource.RLIMIT_SIGPENDING, 64),
    ):
        resource.setrlimit(which, (most, most))
    _, most_stack = resource.getrlimit(resource.RLIMIT_STACK)
    stack = 8 * 1024 * 1024
    if most_stack == resource.RLIM_INFINITY or most_stack > stack:
        resource.setrlimit(resource.RLIMIT_STACK, (stack, stack))


def _drop_privileges(counter: threads.Counter) -> None:
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0)
    nothing = (ctypes.c_uint32 * 6)()
    _call("capset", header, nothing)
    _call("prctl", _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    counter.install()
    _call("prctl", _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(_filter), 0, 0)
