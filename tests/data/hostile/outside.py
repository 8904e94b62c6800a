# Sends packets to the outside world, by address and by name; right only if one leaves.
import socket


def attempt(action):
    try:
        action()
        return True
    except OSError:
        return False


def udp():
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"hello", ("192.0.2.1", 53))


worked = [
    attempt(udp),
    attempt(lambda: socket.create_connection(("192.0.2.1", 80), timeout=1)),
    attempt(lambda: socket.getaddrinfo("example.org", 80)),
]


def triple(x):
    return 3 * x if any(worked) else 0
