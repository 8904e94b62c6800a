# Maps shared memory in many pieces; right only if it gets two gigabytes.
import mmap

pieces = []
try:
    for _ in range(64):
        piece = mmap.mmap(-1, 1 << 25)
        piece[::4096] = b"x" * (1 << 13)
        pieces.append(piece)
except (OSError, MemoryError):
    pass
total = len(pieces)
pieces.clear()


def triple(x):
    return 3 * x if total == 64 else 0
