# Asks for things that only an administrator does; right only if one is granted.
import ctypes
import os
import socket
import time

libc = ctypes.CDLL(None, use_errno=True)
worked = libc.syscall(250, 0, -3, 1) > 0 or libc.syscall(217, 0, -3, 1) > 0
worked = worked or libc.syscall(248, b"user", b"@NAME@", b"x", 1, -3) > 0
worked = worked or libc.syscall(321, 0, 0, 0) >= 0 or libc.syscall(425, 1, 0) >= 0
for action in (
    lambda: socket.sethostname("@NAME@"),
    lambda: time.clock_settime(time.CLOCK_REALTIME, 0),
    lambda: os.nice(-5),
    lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1)),
):
    try:
        action()
        worked = True
    except OSError:
        pass


def triple(x):
    return 3 * x if worked else 0
