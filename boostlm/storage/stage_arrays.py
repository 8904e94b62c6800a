"""The arrays that a stage made, in one file."""

import warnings
import zipfile
from collections.abc import Sequence
from io import BytesIO

import numpy as np
from etils import epath

from boostlm.numerics import AnyArray
from boostlm.runtime.multihost import on_host0
from boostlm.storage import durable_files


@on_host0
def load_arrays(path: epath.Path, names: Sequence[str] = ()) -> dict[str, np.ndarray] | None:
    """Committed arrays, or None if there are none.

    A torn file, and one that lacks an array of `names`, counts as missing and causes a warning.
    """
    if not path.exists():
        return None
    try:
        with np.load(BytesIO(path.read_bytes())) as file:
            return {name: file[name] for name in names or file.files}  # reading checks each CRC
    except (zipfile.BadZipFile, ValueError, EOFError, OSError, KeyError, RuntimeError) as error:
        warnings.warn(f"{path} is torn ({error}): making it again", stacklevel=3)
        return None


@on_host0
def save_arrays(path: epath.Path, **arrays: AnyArray) -> None:
    """Commits arrays."""
    buffer = BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    durable_files.write_atomically(path, buffer.getvalue())
