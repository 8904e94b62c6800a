"""Loads data sets with tensorflow-datasets, from a download or local files, without TensorFlow.

Both sources are converted to the array_record format, which can be read without TensorFlow.
tensorflow-datasets stores prepared data in TFDS_DATA_DIR or ~/tensorflow_datasets.
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
from boostlm.storage.durable_files import BOM, lines_of
from boostlm.user_code import open_path

_FORMAT = "array_record"
_ELSEWHERE = "set TFDS_DATA_DIR to a writable folder"

Files = Mapping[str, epath.Path]  # by file name
RowT = TypeVar("RowT", bound=Hashable)  # a task's row type
Rows = Mapping[str, list[RowT]]  # by source split


@dataclass(frozen=True)
class DataSet(Generic[RowT]):
    """A task's data set.

    Attributes:
      title: the name in messages.
      folder: the name in paths. Local files may be in a folder of this name.
      files: names of the local files, in reading order.
      splits: the source splits to read.
      remote: makes the builder that downloads, from `data_dir=`.
      local: makes the builder that reads local files, from `files=` and `data_dir=`.
      row: converts a record, whose texts are bytes, to a hashable row.
      parse: converts the files and their contents to rows. Raises BoostError with the location of
        malformed data.
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
    """Loads the rows by source split, in arbitrary order.

    Args:
      data_set: the data set.
      path: a folder that contains the data set's files, directly or in `data_set.folder`. If
        empty, the files are downloaded.

    Raises:
      BoostError: the files are missing or malformed, the download failed, or the prepared data
        cannot be written or read.
    """
    # constants.DATA_DIR would keep the value of TFDS_DATA_DIR at import.
    root = open_path(constants.get_default_data_dir(), "TFDS_DATA_DIR")
    if path:
        return _local_rows(data_set, open_path(path, "data.path"), root)
    return _downloaded_rows(data_set, root)


def json_lines(content: bytes, file: epath.Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """(location, fields) of each line of a file of JSON objects."""
    for number, line in enumerate(lines_of(content), start=1):
        where = f"{file}, line {number}"
        try:
            fields = json.loads(line.decode())
        except ValueError as error:  # not JSON, or not UTF-8
            raise BoostError(f"{where} is not JSON: {error}") from error
        if not isinstance(fields, dict):
            raise BoostError(f"{where} is not a JSON object")
        yield where, fields


def _downloaded_rows(data_set: DataSet[RowT], root: epath.Path) -> Rows[RowT]:
    """The rows that the builder downloads. Later calls read the prepared data under `root`."""
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
    _new_folder(root).rmtree()  # an unwritable folder fails here, before the download
    try:
        data_set.remote(data_dir=root).download_and_prepare(file_format=_FORMAT)
    except Exception as error:  # the network, the data set and the file system share no base class
        # If two processes prepare concurrently, the second fails at the end but the data is ready.
        if not data_set.remote(data_dir=root).is_prepared():
            raise BoostError(
                f"the download of {data_set.title} to {root} failed ({_describe(error)}). Without "
                f"a network, set --data.path to a folder that contains {_names(data_set)}"
            ) from error


def _local_rows(data_set: DataSet[RowT], folder: epath.Path, root: epath.Path) -> Rows[RowT]:
    """The rows of local files, read with tensorflow-datasets and cached under `root`.

    The name of the cache folder contains the files' hash, and the cached rows must equal the files'
    rows. Stale or partially written data is therefore never returned.
    """
    files = _find(data_set, folder)
    contents = {name: _read_bytes(file) for name, file in files.items()}
    expected = data_set.parse(files, contents)
    digests = [hashlib.sha256(contents[name]).digest() for name in data_set.files]
    name = f"{data_set.folder}-{hashlib.sha256(b''.join(digests)).hexdigest()[:20]}"
    cache = root / "boostlm" / name
    damaged = cache.exists()
    if damaged:
        # Any kind of damage is repaired by preparing the cache again.
        with contextlib.suppress(Exception):
            if rows := _read_if_equal(data_set, files, cache, expected):
                return rows
    return _prepare_local(data_set, files, expected, cache, replace=damaged)


def _prepare_local(
    data_set: DataSet[RowT], files: Files, expected: Rows[RowT], cache: epath.Path, replace: bool
) -> Rows[RowT]:
    """Prepares local files in a staging folder and moves it to `cache` when it is complete.

    A killed process leaves only its staging folder, whose name begins with `incomplete-`. The
    builder's own temporary folder is not enough: two processes with the same `random` seed would
    get the same folder.
    """
    staging = _new_folder(cache.parent)
    try:
        files = {name: _without_bom(file, staging) for name, file in files.items()}
        with contextlib.redirect_stdout(io.StringIO()):  # it prints the staging folder
            data_set.local(files=files, data_dir=staging).download_and_prepare(file_format=_FORMAT)
        rows = _read_if_equal(data_set, files, staging, expected)
        if rows is not None:
            # This fails if another process was first. Its folder is equivalent.
            with contextlib.suppress(OSError):
                if replace:
                    cache.rmtree()
                staging.rename(cache)
    except OSError as error:
        raise BoostError(f"{cache} cannot be written ({error}): {_ELSEWHERE}") from error
    except Exception as error:  # the builder rejects something that `parse` accepted
        sources = " and ".join(map(str, files.values()))
        raise BoostError(f"{sources} cannot be prepared ({_describe(error)})") from error
    finally:
        with contextlib.suppress(OSError):
            staging.rmtree(missing_ok=True)
    if rows is None:
        raise BoostError(
            f"{' or '.join(map(str, files.values()))} changed while being read: try again"
        )
    return rows


def _read_if_equal(
    data_set: DataSet[RowT], files: Files, data_dir: epath.Path, expected: Rows[RowT]
) -> Rows[RowT] | None:
    """The rows prepared in `data_dir` if they equal `expected` in any order, else None."""
    rows = _read(data_set, data_set.local(files=files, data_dir=data_dir))
    equal = all(Counter(rows[split]) == Counter(expected[split]) for split in data_set.splits)
    return rows if equal else None


def _new_folder(parent: epath.Path) -> epath.Path:
    """Creates a folder with a unique name. Raises BoostError if it cannot be created."""
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
    """The rows of a builder whose data is prepared."""
    rows = {}
    for split in data_set.splits:
        source = builder.as_data_source(split)
        records = source.__getitems__(range(len(source)))  # one batch is faster than single reads
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
            f"{' and '.join(missing)} missing: --data.path must be a folder that contains "
            f"{_names(data_set)}, or {inside}"
        )
    return files


def _without_bom(file: epath.Path, folder: epath.Path) -> epath.Path:
    """The file, or its copy in a folder without a byte order mark, which builders do not expect."""
    content = file.read_bytes()
    if not content.startswith(BOM):
        return file
    (folder / file.name).write_bytes(content.removeprefix(BOM))
    return folder / file.name


def _read_bytes(file: epath.Path) -> bytes:
    try:
        content = file.read_bytes()
    except OSError as error:
        raise BoostError(f"{file} cannot be read: {error}") from error
    if not content.strip():
        raise BoostError(f"{file} is empty")
    return content
