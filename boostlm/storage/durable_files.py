"""Files that a reader never sees half written, on a local disk or in a bucket.

Call these functions as `durable_files.NAME`: tests of crashes replace them here, once for all.
"""

import os
import uuid
import warnings
from collections.abc import Generator
from contextlib import contextmanager

from etils import epath

from boostlm.errors import BoostError

_TEMPORARY = ".tmp"


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


def append_durably(path: epath.Path, data: bytes) -> None:
    """Appends complete lines and waits until they are on disk.

    A kill can tear the last line, never an earlier one; the next call cuts a torn line off.
    A bucket cannot append, so there the object is replaced by a longer one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    new = not path.exists()
    if not is_local(path):
        before = b"" if new else _complete(path.read_bytes())
        path.write_bytes(before + data)
        return
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
    if not path.exists():
        return []
    data = path.read_bytes()
    complete = _complete(data)
    if complete != data:
        warnings.warn(f"{path}: ignored a torn last line, left by a kill", stacklevel=3)
    return complete.splitlines()


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
