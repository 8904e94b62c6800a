"""Where the tests' files are: the repository, small fixtures of our own, the complete data sets."""

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
FIXTURES = REPOSITORY / "tests" / "data"


def data_set(name: str) -> Path:
    """The folder of a complete data set ("gsm8k", "mbpp"); skips the test if it is not there.

    It is looked for in $BOOSTLM_DATA, then in ../shared/data beside the repository.
    """
    folders = [Path(f) for f in (os.environ.get("BOOSTLM_DATA"),) if f]
    folders.append(REPOSITORY.parent / "shared" / "data")
    for folder in folders:
        if (folder / name).is_dir():
            return folder / name
    pytest.skip(f"no folder {name} in {' or '.join(map(str, folders))}: set BOOSTLM_DATA")
