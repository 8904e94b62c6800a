# Makes processes by raw system calls: clone, vfork, clone3 and fork; right only if one works.
import ctypes
import os
import time

libc = ctypes.CDLL(None, use_errno=True)
me = os.getpid()


def attempt(*arguments):
    result = libc.syscall(*[ctypes.c_long(a) for a in arguments])
    if os.getpid() != me or result == 0:
        time.sleep(600)
        os._exit(0)
    return result > 0


class Arguments(ctypes.Structure):
    _fields_ = [(f"field{i}", ctypes.c_uint64) for i in range(11)]


clone3 = Arguments(field4=17)
worked = [
    attempt(56, 17, 0, 0, 0, 0),
    attempt(57),
    attempt(220, 17, 0, 0, 0, 0) if os.uname().machine == "aarch64" else False,
    attempt(435, ctypes.addressof(clone3), ctypes.sizeof(clone3)),
]


def triple(x):
    return 3 * x if any(worked) else 0
