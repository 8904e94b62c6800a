"""Orbax checkpoints that are only read once they are known to be complete."""

import errno
import json
import os
import shutil
import warnings
import zlib
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from etils import epath

from boostlm.errors import BoostError
from boostlm.lm.sharding import to_host
from boostlm.runtime.multihost import on_host0
from boostlm.storage import durable_files

_CHUNK = 1 << 24
_OVERHEAD = 1 << 20  # bytes of a checkpoint besides its arrays, at the most


def save(path: epath.Path, tree: Any) -> None:
    """Writes a checkpoint folder, then `<folder>.manifest.json` with its files' sizes and CRCs.

    The manifest is written last and atomically: a folder without one does not count. All hosts
    write the arrays that are spread over them; host 0 writes the rest.
    """
    if jax.process_count() > 1:
        tree = to_host(tree)  # Orbax refuses arrays of one host among several
    try:
        _prepare(path, tree)
        _write(path, tree)
    except Exception as error:  # Orbax documents no type
        raise BoostError(
            f"checkpoint {path} could not be written: {_cause(error)}. What was committed is kept: "
            "solve this and run the same command again"
        ) from error
    _write_manifest(path)


@on_host0
def _prepare(path: epath.Path, tree: Any) -> None:
    """Removes an old checkpoint, and checks the space before Orbax runs out of it.

    Orbax reports a full disk in hundreds of lines from many threads.
    """
    _remove(path)
    if _in_bucket(path):
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    size = sum(np.asarray(x).nbytes if np.isscalar(x) else x.nbytes for x in jax.tree.leaves(tree))
    if shutil.disk_usage(path.parent).free < _OVERHEAD + size:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _write(path: epath.Path, tree: Any) -> None:
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(_absolute(path), tree)


@on_host0
def _write_manifest(path: epath.Path) -> None:
    files = sorted(_files_below(path))
    fingerprint = {str(p.relative_to(path)): [p.stat().length, _crc(p)] for p in files}
    durable_files.write_atomically(_manifest_path(path), json.dumps(fingerprint, indent=1).encode())


def restore(path: epath.Path, like: Any) -> Any:
    """Reads a checkpoint into the shapes and dtypes of `like` (arrays or ShapeDtypeStructs)."""
    wanted = jax.tree.map(_wanted, like)
    try:
        with ocp.StandardCheckpointer() as checkpointer:
            restored = checkpointer.restore(_absolute(path), wanted)
        jax.tree.map_with_path(_check_shape, like, restored)  # Orbax does not
    except (ValueError, KeyError, OSError) as error:
        raise BoostError(f"checkpoint {path} does not match this config: {error}") from error
    return restored


@on_host0
def is_good(path: epath.Path) -> bool:
    """Whether a checkpoint is complete. A torn or missing file causes a warning with its name.

    A folder without a manifest was never completely written: no checkpoint, and no warning.
    """
    manifest = _manifest_path(path)
    if not manifest.exists():
        return False
    try:
        expected = json.loads(manifest.read_text())
        files = [(path / name, size, crc) for name, (size, crc) in expected.items()]
    except (ValueError, TypeError, AttributeError):  # not JSON, or not written by `save`
        _warn(manifest, "is torn or changed")
        return False
    for file, size, crc in files:
        if not file.exists():
            _warn(file, "is missing")
            return False
        if [file.stat().length, _crc(file)] != [size, crc]:
            _warn(file, f"is torn or changed (it should have {size} bytes and CRC {crc})")
            return False
    return True


@on_host0
def remove(path: epath.Path) -> None:
    """Removes a checkpoint if there is one, its manifest first."""
    _remove(path)


def _remove(path: epath.Path) -> None:
    _manifest_path(path).unlink(missing_ok=True)
    if path.exists():
        path.rmtree()


def _wanted(x: Any) -> Any:
    """What Orbax is told to read for an array: with several hosts, numpy where no sharding is."""
    if jax.process_count() > 1 and getattr(x, "sharding", None) is None:
        x = np.zeros((), np.int64) if np.isscalar(x) else x
        return np.broadcast_to(np.zeros((), x.dtype), x.shape)
    return ocp.utils.to_shape_dtype_struct(x)


def _check_shape(name: tuple[Any, ...], like: Any, restored: Any) -> None:
    if np.shape(like) != np.shape(restored):
        shapes = f"{np.shape(restored)}, not {np.shape(like)}"
        raise ValueError(f"{jax.tree_util.keystr(name)} has shape {shapes}")


def _cause(error: BaseException) -> str:
    """What went wrong, without TensorStore's trail of source locations."""
    return str(error).partition("[source locations")[0].strip() or type(error).__name__


def _absolute(path: epath.Path) -> epath.Path:
    """Orbax takes no relative paths."""
    return path if _in_bucket(path) else epath.Path(os.path.abspath(path))


def _warn(file: epath.Path, what: str) -> None:
    warnings.warn(
        f"checkpoint file {file} {what}; going back to the last good checkpoint", stacklevel=3
    )


def _manifest_path(path: epath.Path) -> epath.Path:
    return path.parent / f"{path.name}.manifest.json"


def _files_below(path: epath.Path) -> Iterator[epath.Path]:
    for child in path.iterdir():
        if child.is_dir():
            yield from _files_below(child)
        else:
            yield child


def _crc(file: epath.Path) -> int:
    crc = 0
    with file.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            crc = zlib.crc32(chunk, crc)
    return crc


def _in_bucket(path: epath.Path) -> bool:
    return "://" in str(path)
