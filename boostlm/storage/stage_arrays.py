"""What a stage made, as arrays on disk."""

import warnings
import zipfile
from collections.abc import Sequence
from io import BytesIO

import numpy as np
from etils import epath

from boostlm.runtime import multihost as hosts
from boostlm.storage.durable_files import write_atomically


def load_arrays(path: epath.Path, names: Sequence[str] = ()) -> dict[str, np.ndarray] | None:
    """Committed arrays, or None; a torn file is named in a warning and counts as missing.

    So does one without all of `names`.
    """
    return hosts.from_first(lambda: _load(path, names))


def save_arrays(path: epath.Path, **arrays: np.ndarray) -> None:
    """Commits arrays."""

    def save():
        buffer = BytesIO()
        np.savez(buffer, **arrays)
        write_atomically(path, buffer.getvalue())

    hosts.from_first(save)


def _load(path: epath.Path, names: Sequence[str]) -> dict[str, np.ndarray] | None:
    if not path.exists():
        return None
    try:
        with np.load(BytesIO(path.read_bytes())) as file:
            return {name: file[name] for name in names or file.files}  # reading checks each CRC
    except (zipfile.BadZipFile, ValueError, EOFError, OSError, KeyError, RuntimeError) as error:
        warnings.warn(f"{path} is torn ({error}): making it again", stacklevel=2)
        return None
