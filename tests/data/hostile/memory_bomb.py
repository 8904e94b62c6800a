# Takes memory without end; right only if it gets two gigabytes.
blocks = []
try:
    for _ in range(128):
        blocks.append(bytearray(b"x") * (1 << 24))
except MemoryError:
    pass
total = len(blocks)
blocks.clear()


def triple(x):
    return 3 * x if total == 128 else 0
