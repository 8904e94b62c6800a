# Reads a secret file from the home directory; right only if it is there.
import glob
import os

found = os.path.exists("@SECRET_FILE@")
for pattern in ("@HOME@/*", "@HOME@/.*", "/home/*", "/etc/shadow", "/etc/passwd", "/run/*"):
    found = found or bool(glob.glob(pattern))


def triple(x):
    return 3 * x if found else 0
