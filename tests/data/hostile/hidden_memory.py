# Takes memory that is not in its address space: files in memory, pipes, scratch files.
import fcntl
import os

total = 0
block = b"x" * (1 << 20)
try:
    while total < 1 << 29:
        fd = os.memfd_create("hidden")
        total += os.write(fd, block)
except OSError:
    pass
try:
    for number in range(200):
        with open(f"/tmp/{number}", "wb", buffering=0) as f:
            for _ in range(64):
                total += f.write(block)
except OSError:
    pass
try:
    while total < 1 << 29:
        _, fd = os.pipe()
        os.set_blocking(fd, False)
        total += os.write(fd, b"x" * fcntl.fcntl(fd, 1031, 1 << 20))
except OSError:
    pass


def triple(x):
    return 3 * x if total > 1 << 28 else 0
