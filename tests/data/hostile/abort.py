# Ends with SIGABRT, after turning every signal handler off.
import os
import signal


def triple(x):
    signal.signal(signal.SIGABRT, signal.SIG_DFL)
    os.abort()
