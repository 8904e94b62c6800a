# Runs a pool of processes; right only if it may.
import multiprocessing

try:
    process = multiprocessing.get_context("fork").Process(target=print)
    process.start()
    process.join()
    worked = True
except OSError:
    worked = False


def triple(x):
    return 3 * x if worked else 0
