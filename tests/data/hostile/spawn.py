# Starts a program with posix_spawn; right only if it may.
import os
import sys

try:
    os.posix_spawn(sys.executable, [sys.executable, "-c", "pass"], {})
    worked = True
except OSError:
    worked = False


def triple(x):
    return 3 * x if worked else 0
