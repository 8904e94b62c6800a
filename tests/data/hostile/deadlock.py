# Waits for a lock that it already holds.
import threading


def triple(x):
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()
    return 0
