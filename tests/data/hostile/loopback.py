# Connects to a server on the host's loopback interface; right only if it gets there.
import socket

try:
    socket.create_connection(("127.0.0.1", int("@PORT@")), timeout=1).sendall(b"hello")
    worked = True
except OSError:
    worked = False


def triple(x):
    return 3 * x if worked else 0
