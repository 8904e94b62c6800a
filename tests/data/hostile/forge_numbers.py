# Sends JSON numbers that take a reader for ever or become infinite.
import os


def triple(x):
    data = b'["ok","",1e999999999,' + b"9" * 500_000 + b",NaN]"
    while data:
        data = data[os.write(3, data) :]
    os._exit(0)
