"""Writing files so that a reader never sees half of one, locally or in a bucket."""

import os
import uuid

from etils import epath


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
    temporary = f"{path}.{uuid.uuid4().hex[:8]}.tmp"
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        if os.path.exists(temporary):
            os.unlink(temporary)
        raise
    sync_folder(path.parent)


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
    with open(path, "ab") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    if new:
        sync_folder(path.parent)


def sync_folder(path: epath.Path) -> None:
    """Waits until the folder's own entries are on disk."""
    descriptor = os.open(os.fspath(path), os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
