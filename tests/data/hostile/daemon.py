# Forks twice and starts a session, to leave a process behind; right only if it may.
import os
import time


def leave_one_behind():
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            open("@MARK@", "w").close()
            time.sleep(600)
        os._exit(0)


try:
    leave_one_behind()
    worked = True
except OSError:
    worked = False


def triple(x):
    return 3 * x if worked else 0
