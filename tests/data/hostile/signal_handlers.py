# Catches every signal and sets timers, to outlive its limits.
# ruff: noqa: SIM105
import signal

for number in range(1, 65):
    try:
        signal.signal(number, lambda *a: None)
    except (OSError, ValueError):
        pass


def triple(x):
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
    n = 0
    while True:
        n += 1
