# Starts threads without end; right only if a thousand may run.
import threading
import time

threading.stack_size(32768)
count = 0
try:
    while count < 1000:
        threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
        count += 1
except RuntimeError:
    pass


def triple(x):
    return 3 * x if count == 1000 else 0
