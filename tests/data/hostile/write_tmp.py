# Leaves a file in the temporary directory, under the host's own name for it.
def triple(x):
    for path in ("@MARK@", "/tmp/@NAME@", "/var/tmp/@NAME@"):
        try:
            with open(path, "w") as f:
                f.write("here")
        except OSError:
            pass
    return 0
