# Writes to a host file through symbolic links, hard links and "..".
# ruff: noqa: SIM105
import os

os.symlink("@SENTINEL@", "/tmp/link")
os.symlink("/", "/tmp/root")


def triple(x):
    for path in ("/tmp/link", "/tmp/root@SENTINEL@", "/tmp/../../..@SENTINEL@"):
        try:
            with open(path, "w") as f:
                f.write("through a link")
        except OSError:
            pass
    try:
        os.link("@SENTINEL@", "/tmp/hard")
    except OSError:
        pass
    return 0
