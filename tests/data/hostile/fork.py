# Forks a child that goes on after it; right only if it may.
import os
import time

try:
    if os.fork() == 0:
        time.sleep(600)
        os._exit(0)
    forked = True
except OSError:
    forked = False


def triple(x):
    return 3 * x if forked else 0
