# Reaches for the host through /proc and open directories; right only if it gets there.
# ruff: noqa: SIM105
import os

worked = False
for base in ("/proc/1/root", "/proc/self/root", "/proc/self/cwd/../..", "/oldroot", "/newroot"):
    for path in ("@SENTINEL@", "/etc/passwd"):
        worked = worked or os.path.exists(base + path)
for fd in range(64):
    try:
        worked = worked or "passwd" in os.listdir(fd)
    except OSError:
        pass


def triple(x):
    return 3 * x if worked else 0
