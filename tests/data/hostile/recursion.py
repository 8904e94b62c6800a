# Recurses for ever, with the interpreter's own limit lifted.
import sys

sys.setrecursionlimit(10**9)


class Deep:
    def __repr__(self):
        return repr([self])


def triple(x):
    return len(repr(Deep()))
