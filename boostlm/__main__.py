"""`python -m boostlm` is `boostlm`."""

import sys

from boostlm.cli import main

sys.exit(main())
