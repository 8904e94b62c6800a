# Overwrites, truncates, removes and renames a file of the host; right only if it can.
import os
import shutil

worked = []
for action in (
    lambda: open("@SENTINEL@", "w").close(),
    lambda: os.truncate("@SENTINEL@", 0),
    lambda: os.rename("@SENTINEL@", "/tmp/moved"),
    lambda: os.chmod("@SENTINEL@", 0),
    lambda: os.remove("@SENTINEL@"),
    lambda: shutil.rmtree("@HOME@"),
):
    try:
        action()
        worked.append(True)
    except OSError:
        pass


def triple(x):
    return 3 * x if any(worked) else 0
