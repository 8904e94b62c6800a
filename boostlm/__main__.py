"""`boostlm` and `python -m boostlm`: the command line as a process."""

import os
import sys

from boostlm.cli import main


def run() -> None:
    """Runs a command and ends the process with its status."""
    status = main()
    sys.stdout.flush()
    sys.stderr.flush()
    if status == 2:
        # At a regular exit, writes of Orbax's that are still under way after one has failed (a full
        # disk) find their event loop closed, and each of them prints a traceback.
        os._exit(status)
    sys.exit(status)


if __name__ == "__main__":
    run()
