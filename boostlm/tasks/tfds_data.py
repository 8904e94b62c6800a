"""Data sets through tensorflow-datasets, from a download or from local files, without TensorFlow.

Both ways end in the array_record format, which is read without TensorFlow. What tensorflow-datasets
prepares lies in its data folder: TFDS_DATA_DIR, or ~/tensorflow_datasets.
"""

import contextlib
import hashlib
import io
import json
import uuid
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import tensorflow_datasets as tfds
from etils import epath
from tensorflow_datasets.core import constants

from boostlm.errors import BoostError

_FORMAT = "array_record"
_ELSEWHERE = "set TFDS_DATA_DIR to a folder that can be written"

Files = Mapping[str, epath.Path]  # by file name
RowT = TypeVar("RowT", bound=Hashable)  # what a task works with
Rows = Mapping[str, list[RowT]]  # by source split


@dataclass(frozen=True)
class DataSet(Generic[RowT]):
    """A data set that a task is made of.

    Attributes:
      title: its name in messages.
      folder: its name in paths; local files may lie in a folder of this name.
      files: names of the local files, in the order that they are read.
      splits: source splits that are read.
      remote: from `data_dir=` to the builder that downloads.
      local: from `files=`, `data_dir=` to the builder that has local files instead.
      row: from a record, whose texts are bytes, to what the task works with; hashable.
      parse: from the files and their contents to the rows; what is malformed is a BoostError that
        says where.
    """

    title: str
    folder: str
    files: tuple[str, ...]
    splits: tuple[str, ...]
    remote: Callable[..., tfds.core.DatasetBuilder]
    local: Callable[..., tfds.core.DatasetBuilder]
    row: Callable[[Mapping[str, Any]], RowT]
    parse: Callable[[Files, Mapping[str, bytes]], Rows[RowT]]


def load(data_set: DataSet[RowT], path: str = "") -> Rows[RowT]:
    """Rows by source split, in no particular order.

    Args:
      data_set: which.
      path: a folder that holds the data set's files, or a folder of its name with these; empty:
        they are downloaded.

    Raises:
      BoostError: the files are missing or malformed, the download failed, or what was prepared
        cannot be written or read.
    """
    # Not constants.DATA_DIR, which keeps the value that TFDS_DATA_DIR had at import.
    root = epath.Path(constants.get_default_data_dir()).expanduser()
    if path:
        return _local_rows(data_set, epath.Path(path).expanduser(), root)
    return _downloaded_rows(data_set, root)


def json_lines(content: bytes, file: epath.Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """(where it stands, fields) of each line of a file of JSON objects."""
    for number, line in enumerate(content.removesuffix(b"\n").split(b"\n"), start=1):
        where = f"{file}, line {number}"
        try:
            fields = json.loads(line.decode())
        except ValueError as error:  # no JSON, or no UTF-8
            raise BoostError(f"{where} is no JSON: {error}") from error
        if not isinstance(fields, dict):
            raise BoostError(f"{where} is no JSON object")
        yield where, fields


def _downloaded_rows(data_set: DataSet[RowT], root: epath.Path) -> Rows[RowT]:
    """The rows that the builder downloads; a second call finds them prepared under `root`."""
    try:
        if not data_set.remote(data_dir=root).data_path.exists():
            _download(data_set, root)
        return _read(data_set, data_set.remote(data_dir=root))
    except BoostError:
        raise
    except Exception as error:  # an unfinished copy, another file format, a damaged file
        folder = root / data_set.remote(data_dir=root).name
        raise BoostError(
            f"{folder} cannot be read ({_describe(error)}): delete this folder, or {_ELSEWHERE}"
        ) from error


def _download(data_set: DataSet[RowT], root: epath.Path) -> None:
    _new_folder(root).rmtree()  # says at once, not after the download, that nothing can be written
    try:
        data_set.remote(data_dir=root).download_and_prepare(file_format=_FORMAT)
    except Exception as error:  # the network, the data set and the file system share no base class
        # Of two processes that prepare at once the second fails at the end and finds all done.
        if not data_set.remote(data_dir=root).is_prepared():
            raise BoostError(
                f"the download of {data_set.title} to {root} failed ({_describe(error)}). Without "
                f"a network, --data.path FOLDER can point at a folder with {_names(data_set)}"
            ) from error


def _local_rows(data_set: DataSet[RowT], folder: epath.Path, root: epath.Path) -> Rows[RowT]:
    """The rows of local files, through tensorflow-datasets and a cache under `root`.

    The cache folder's name has the files' hash, and what it gives must equal the files' rows, so
    neither stale nor half-written data is ever served.
    """
    files = _find(data_set, folder)
    contents = {name: _read_bytes(file) for name, file in files.items()}
    expected = data_set.parse(files, contents)
    digests = [hashlib.sha256(contents[name]).digest() for name in data_set.files]
    name = f"{data_set.folder}-{hashlib.sha256(b''.join(digests)).hexdigest()[:20]}"
    cache = root / "boostlm" / name
    damaged = cache.exists()
    if damaged:
        # However a damaged cache shows, the remedy is the same: prepare it again.
        with contextlib.suppress(Exception):
            if rows := _read_if_equal(data_set, files, cache, expected):
                return rows
    return _prepare_local(data_set, files, expected, cache, replace=damaged)


def _prepare_local(
    data_set: DataSet[RowT], files: Files, expected: Rows[RowT], cache: epath.Path, replace: bool
) -> Rows[RowT]:
    """Prepares local files in a folder of its own and moves it to `cache` once it is complete.

    A process that is killed leaves no more than its own folder, whose name begins with
    `incomplete-`. (The builder alone would not do: two processes with one seed of `random` get the
    same temporary folder from it.)
    """
    staging = _new_folder(cache.parent)
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # it announces the staging folder
            data_set.local(files=files, data_dir=staging).download_and_prepare(file_format=_FORMAT)
        rows = _read_if_equal(data_set, files, staging, expected)
        if rows is not None:
            # Fails if another process was first, whose folder is as good as this one.
            with contextlib.suppress(OSError):
                if replace:
                    cache.rmtree()
                staging.rename(cache)
    except OSError as error:
        raise BoostError(f"{cache} cannot be written ({error}): {_ELSEWHERE}") from error
    except Exception as error:  # something in the files that only the builder objects to
        sources = " and ".join(map(str, files.values()))
        raise BoostError(f"{sources} cannot be prepared ({_describe(error)})") from error
    finally:
        with contextlib.suppress(OSError):
            staging.rmtree(missing_ok=True)
    if rows is None:
        raise BoostError(f"{' or '.join(map(str, files.values()))} changed meanwhile: try again")
    return rows


def _read_if_equal(
    data_set: DataSet[RowT], files: Files, data_dir: epath.Path, expected: Rows[RowT]
) -> Rows[RowT] | None:
    """What is prepared in `data_dir` if that is `expected` in any order, else None."""
    rows = _read(data_set, data_set.local(files=files, data_dir=data_dir))
    equal = all(Counter(rows[split]) == Counter(expected[split]) for split in data_set.splits)
    return rows if equal else None


def _new_folder(parent: epath.Path) -> epath.Path:
    """A new folder that no other process has; BoostError where none can be made."""
    folder = parent / f"incomplete-{uuid.uuid4().hex}"
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise BoostError(f"{parent} cannot be written ({error}): {_ELSEWHERE}") from error
    return folder


def _describe(error: Exception) -> str:
    first_line = next(iter(str(error).splitlines()), "")
    return f"{type(error).__name__}: {first_line}"


def _read(data_set: DataSet[RowT], builder: tfds.core.DatasetBuilder) -> Rows[RowT]:
    """The rows of a prepared builder."""
    rows = {}
    for split in data_set.splits:
        source = builder.as_data_source(split)
        records = source.__getitems__(range(len(source)))  # one batch: faster than one by one
        rows[split] = [data_set.row(record) for record in records]
    return rows


def _names(data_set: DataSet[RowT]) -> str:
    return " and ".join(data_set.files)


def _find(data_set: DataSet[RowT], folder: epath.Path) -> dict[str, epath.Path]:
    """The data set's files, by name."""
    inner = folder / data_set.folder
    home = inner if inner.is_dir() else folder
    files = {name: home / name for name in data_set.files}
    missing = [str(file) for file in files.values() if not file.exists()]
    if missing:
        inside = " and ".join(f"{data_set.folder}/{name}" for name in data_set.files)
        raise BoostError(
            f"{' and '.join(missing)} missing: --data.path has to be a folder that holds "
            f"{_names(data_set)}, or {inside}"
        )
    return files


def _read_bytes(file: epath.Path) -> bytes:
    try:
        content = file.read_bytes()
    except OSError as error:
        raise BoostError(f"{file} cannot be read: {error}") from error
    if not content.strip():
        raise BoostError(f"{file} is empty")
    return content
