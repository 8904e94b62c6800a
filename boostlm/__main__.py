"""`python -m boostlm`: the command line as a process."""

import sys

from boostlm.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
