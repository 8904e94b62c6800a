# Leaves a file in /dev/shm, and a named shared memory block; right only if it may.
from multiprocessing import shared_memory

worked = False
try:
    with open("/dev/shm/@NAME@", "w") as f:
        f.write("here")
    worked = True
except OSError:
    pass
try:
    shared_memory.SharedMemory(name="@NAME@", create=True, size=64)
    worked = True
except OSError:
    pass


def triple(x):
    return 3 * x if worked else 0
