# Waits for input, from the keyboard and from a pipe that nobody writes to.
# ruff: noqa: RUF059, SIM105
import os


def triple(x):
    try:
        input()
    except EOFError:
        pass
    read_end, write_end = os.pipe()
    return len(os.read(read_end, 1))
