"""Writing files so that a reader never sees half of one, locally or in a bucket."""

import os
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from etils import epath

from boostlm.errors import BoostError

_TEMPORARY = ".tmp"


def is_local(path: epath.Path) -> bool:
    """Whether the path is on a file system of this machine (and not gs:// or the like)."""
    return "://" not in str(path)


def write_atomically(path: epath.Path, data: bytes) -> None:
    """Replaces a file as a whole: afterwards it is on disk, and before that the old one is.

    In a bucket, writing an object is atomic by itself.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if not is_local(path):
        path.write_bytes(data)
        return
    temporary = f"{path}.{uuid.uuid4().hex[:8]}{_TEMPORARY}"
    try:
        with _naming(path), open(temporary, "wb") as file:
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
    """Removes what `write_atomically` leaves behind below a local folder when it is killed."""
    for folder, _, names in os.walk(root):
        for name in names:
            if name.endswith(_TEMPORARY):
                os.unlink(os.path.join(folder, name))


def append_durably(path: epath.Path, data: bytes) -> None:
    """Appends whole lines and waits until they are on disk.

    A kill can leave a torn last line, never a torn earlier one. Buckets cannot append: there, the
    object is replaced by a longer one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if not is_local(path):
        path.write_bytes((path.read_bytes() if path.exists() else b"") + data)
        return
    new = not path.exists()
    with _naming(path), open(path, "ab") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    if new:
        sync_folder(path.parent)


def whole_lines(path: epath.Path) -> list[bytes]:
    """The lines that `append_durably` wrote; a torn last one is cut off, with a warning."""
    if not path.exists():
        return []
    data = path.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    if whole != data:
        warnings.warn(f"{path}: cut off a torn last line, left by a kill", stacklevel=3)
        write_atomically(path, whole)
    return whole.splitlines()


@contextmanager
def _naming(path: epath.Path) -> Iterator[None]:
    """Makes an OSError name the file; that of a full disk names none by itself."""
    try:
        yield
    except OSError as error:
        error.filename = os.fspath(path)
        raise


def sync_folder(path: epath.Path) -> None:
    """Waits until the folder's own entries are on disk."""
    descriptor = os.open(os.fspath(path), os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def new_folder(path: epath.Path) -> Iterator[epath.Path]:
    """A folder to fill, which takes its name `path` only when the block ends without an error."""
    if path.exists():
        raise BoostError(f"{path} exists: name a new folder, or remove it first")
    temporary = path.parent / f".{path.name}.{uuid.uuid4().hex[:8]}.tmp"
    temporary.mkdir(parents=True)
    try:
        yield temporary
        temporary.rename(path)
    except BaseException:
        temporary.rmtree()
        raise
