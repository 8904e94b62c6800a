"""Bytes, lines and arrays in files that a reader never sees half written, on disk or in a bucket.

Call these functions as `durable_files.NAME`: tests of crashes replace them here, once for all.
"""

import os
import uuid
import warnings
import zipfile
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from io import BytesIO

import numpy as np
from etils import epath

from boostlm.errors import BoostError
from boostlm.numerics import AnyArray
from boostlm.runtime.multihost import on_host0

BOM = b"\xef\xbb\xbf"
_TEMPORARY = ".tmp"
PART = ".part"  # between the name of a file in a bucket and the number of what was appended to it


def is_local(path: epath.Path) -> bool:
    """Whether the path is on a file system of this machine, not in a bucket such as gs://."""
    return "://" not in str(path)


def write_atomically(path: epath.Path, data: bytes) -> None:
    """Replaces a file. A reader sees the old file until the new one is completely on disk.

    In a bucket, writing an object is already atomic.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if not is_local(path):
        path.write_bytes(data)
        return
    temporary = f"{path}.{uuid.uuid4().hex[:8]}{_TEMPORARY}"
    try:
        with _errors_name(path), open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        if os.path.exists(temporary):
            os.unlink(temporary)
        raise
    sync_folder(path.parent)


def remove_leftovers(root: epath.Path) -> None:
    """Removes the temporary files below a local folder that a killed process left there."""
    for folder, _, names in os.walk(root):
        for name in names:
            if name.endswith(_TEMPORARY):
                os.unlink(os.path.join(folder, name))


@on_host0
def write_lines(path: epath.Path, lines: Sequence[str]) -> None:
    """Replaces a file by these lines, as `write_atomically` does."""
    write_atomically(path, "".join(f"{line}\n" for line in lines).encode())


@on_host0
def append_durably(path: epath.Path, data: bytes) -> None:
    """Appends complete lines and waits until they are on disk.

    A kill can tear the last line, never an earlier one; the next call cuts a torn line off.
    A bucket cannot append, so there each call writes an object of its own; see `join_parts`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if not is_local(path):
        parts = _parts(path)
        number = int(parts[-1].name.rpartition(PART)[2]) + 1 if parts else 0
        (path.parent / f"{path.name}{PART}{number:06d}").write_bytes(data)
        return
    new = not path.exists()
    with _errors_name(path), open(path, "ab") as file:
        if not new and not _ends_in_line_feed(path):
            file.truncate(len(_complete(path.read_bytes())))
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    if new:
        sync_folder(path.parent)


def complete_lines(path: epath.Path) -> list[bytes]:
    """The lines that `append_durably` wrote, without a torn last one, which causes a warning."""
    data = path.read_bytes() if path.exists() else b""
    complete = _complete(data)
    if complete != data:
        warnings.warn(f"{path}: ignored a torn last line, left by a kill", stacklevel=3)
    return [*lines_of(complete), *(line for p in _parts(path) for line in lines_of(p.read_bytes()))]


def lines_of(data: bytes) -> list[bytes]:
    """The lines of a file of JSON lines, without a byte order mark.

    A line ends at a line feed and nowhere else, since a JSON string may hold U+2028 and its like;
    a carriage return before it is a space to JSON. The last line need not end.
    """
    lines = data.removeprefix(BOM).split(b"\n")
    return lines if lines[-1] else lines[:-1]


@on_host0
def join_parts(path: epath.Path) -> None:
    """Makes one object of those that `append_durably` wrote in a bucket; a file stays as it is.

    A kill can leave parts beside the whole, and then lines occur twice.
    """
    parts = _parts(path)
    if parts:
        lines = dict.fromkeys(complete_lines(path))
        path.write_bytes(b"".join(line + b"\n" for line in lines))
        for part in parts:
            part.unlink()


def _parts(path: epath.Path) -> list[epath.Path]:
    """The objects that were appended to a file of a bucket and not yet joined, in their order."""
    if is_local(path) or not path.parent.exists():
        return []
    return sorted(path.parent.glob(f"{path.name}{PART}*"))


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


def save_arrays(path: epath.Path, **arrays: AnyArray) -> None:
    """Commits arrays."""
    buffer = BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    write_atomically(path, buffer.getvalue())


def _complete(data: bytes) -> bytes:
    return data[: data.rfind(b"\n") + 1]


def _ends_in_line_feed(path: epath.Path) -> bool:
    with open(path, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 1))
        return size == 0 or file.read(1) == b"\n"


@contextmanager
def _errors_name(path: epath.Path) -> Generator[None]:
    """Puts the file's name in an OSError; that of a full disk has none."""
    try:
        yield
    except OSError as error:
        error.filename = os.fspath(path)
        raise


def sync_folder(path: epath.Path) -> None:
    """Waits until a folder's list of files is on disk."""
    descriptor = os.open(os.fspath(path), os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def new_folder(path: epath.Path) -> Generator[epath.Path]:
    """A folder to fill. It is renamed to `path` when the block ends without an error."""
    if path.exists():
        raise BoostError(f"{path} exists: name a new folder, or remove it first")
    temporary = path.parent / f".{path.name}.{uuid.uuid4().hex[:8]}{_TEMPORARY}"
    temporary.mkdir(parents=True)
    try:
        yield temporary
        temporary.rename(path)
    except BaseException:
        temporary.rmtree()
        raise
