"""Counts the threads that a check starts, in the kernel's name: the forking process permits each.

No limit of the kernel holds for every user: RLIMIT_NPROC does not apply to root, and a sandbox that
root starts is root's outside. So a second system call filter suspends a check that starts a thread
until the forking process has answered. The answer cannot be forged: it goes through a descriptor
that the check sends to the forking process and closes before it runs the candidate.
"""

import _socket
import array
import contextlib
import ctypes
import errno
import fcntl
import os
import platform
import struct

from boostlm.sandbox import seccomp

MOST = 512  # threads that a check may start, altogether

_SYS_SECCOMP = {"x86_64": 317, "aarch64": 277}
_SET_MODE_FILTER, _NEW_LISTENER = 1, 8
_RECEIVE, _SEND = 0xC0502100, 0xC0182101  # the ioctls of a listener
_QUESTION_SIZE = 80  # of struct seccomp_notif, which begins with the id
_ANSWER = struct.Struct("=QqiI")  # struct seccomp_notif_resp: id, value, error, flags
_CONTINUE = 1

_libc = ctypes.CDLL(None, use_errno=True)


class Counter:
    """Passes listeners from the checks to the forking process, and answers the questions."""

    def __init__(self) -> None:
        """Made once, by the forking process, before it forks."""
        self._inside, self._outside = _socket.socketpair()
        self._filter = seccomp.Filter(seccomp.thread_program())

    def install(self) -> None:
        """Adds the filter to the calling check, which may not gain privileges any more.

        Raises:
          OSError: a system call failed. The caller must not run the candidate.
        """
        number = _SYS_SECCOMP[platform.machine()]
        flags = _NEW_LISTENER
        fd = _libc.syscall(number, _SET_MODE_FILTER, flags, ctypes.byref(self._filter))
        if fd < 0:
            code = ctypes.get_errno()
            raise OSError(code, f"seccomp: {os.strerror(code)}")
        rights = (_socket.SOL_SOCKET, _socket.SCM_RIGHTS, array.array("i", [fd]))
        self._inside.sendmsg([b"L"], [rights])
        os.close(fd)

    def listener(self) -> int:
        """The descriptor that the confined check has sent. The caller closes it."""
        room = _socket.CMSG_SPACE(array.array("i").itemsize)
        _, [(_, _, data)], _, _ = self._outside.recvmsg(1, room)
        return array.array("i", data)[0]


def answer(listener: int, started: int) -> None:
    """Answers one question: the thread may start if fewer than MOST have been `started`."""
    question = bytearray(_QUESTION_SIZE)
    with contextlib.suppress(OSError):  # the check was killed meanwhile
        fcntl.ioctl(listener, _RECEIVE, question)
        [which] = struct.unpack_from("=Q", question)
        verdict = (0, _CONTINUE) if started < MOST else (-errno.EAGAIN, 0)
        fcntl.ioctl(listener, _SEND, _ANSWER.pack(which, 0, *verdict))
