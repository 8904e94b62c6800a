# Sleeps until the host gives up.
import time


def triple(x):
    while True:
        time.sleep(1000)
