# Writes a result with more values than were asked for, and leaves.
import os


def triple(x):
    os.write(3, b'["ok",""' + b',["i","6"],["i","f"],["i","-3"]' * 2 + b"]")
    os._exit(0)
