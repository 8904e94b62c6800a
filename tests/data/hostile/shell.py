# Runs a shell command that leaves a file and a process behind; right only if it may.
import subprocess

try:
    subprocess.run("touch @MARK@; sleep 600 &", shell=True, check=True)
    worked = True
except OSError:
    worked = False


def triple(x):
    return 3 * x if worked else 0
