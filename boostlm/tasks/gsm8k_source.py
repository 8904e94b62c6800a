"""Where GSM8K's rows come from: tensorflow-datasets' builder, downloading or reading local files.

Both ways end in the array_record format, which is read without TensorFlow. What tensorflow-datasets
prepares lies in its data folder: TFDS_DATA_DIR, or ~/tensorflow_datasets.
"""

import contextlib
import hashlib
import io
import json
import re
import uuid
from collections.abc import Mapping
from typing import NamedTuple

import tensorflow_datasets as tfds
from etils import epath
from tensorflow_datasets.core import constants
from tensorflow_datasets.text import gsm8k as tfds_gsm8k

from boostlm.errors import BoostError

SOURCE_SPLITS = ("train", "test")
MARK = "#### "  # stands once in every answer, before the result

_RESULT = re.compile(r"-?[0-9]+(,[0-9]{3})*(\.[0-9]+)?")
_FORMAT = "array_record"
_ELSEWHERE = "set TFDS_DATA_DIR to a folder that can be written"


class Row(NamedTuple):
    """One problem as the data set has it.

    Attributes:
      question: the problem.
      answer: the worked solution with <<calculator>> annotations, a line break and `#### N`.
    """

    question: str
    answer: str


Rows = Mapping[str, list[Row]]  # keys: SOURCE_SPLITS


def load_rows(path: str = "") -> Rows:
    """GSM8K's rows by source split, in no particular order.

    Args:
      path: a folder that holds train.jsonl and test.jsonl, or gsm8k/ with these; empty: they are
        downloaded.

    Raises:
      BoostError: the files are missing or malformed, the download failed, or what was prepared
        cannot be written or read.
    """
    # Not constants.DATA_DIR, which keeps the value that TFDS_DATA_DIR had at import.
    root = epath.Path(constants.get_default_data_dir()).expanduser()
    return _local_rows(epath.Path(path).expanduser(), root) if path else _downloaded_rows(root)


def _downloaded_rows(root: epath.Path) -> Rows:
    """The rows that the builder downloads; a second call finds them prepared under `root`."""
    try:
        if not tfds_gsm8k.Gsm8k(data_dir=root).data_path.exists():
            _download(root)
        return _read(tfds_gsm8k.Gsm8k(data_dir=root))
    except BoostError:
        raise
    except Exception as error:  # an unfinished copy, another file format, a damaged file
        folder = root / tfds_gsm8k.Gsm8k.name
        raise BoostError(
            f"{folder} cannot be read ({_describe(error)}): delete this folder, or {_ELSEWHERE}"
        ) from error


def _download(root: epath.Path) -> None:
    _new_folder(root).rmtree()  # says at once, not after the download, that nothing can be written
    try:
        tfds_gsm8k.Gsm8k(data_dir=root).download_and_prepare(file_format=_FORMAT)
    except Exception as error:  # the network, the data set and the file system share no base class
        # Of two processes that prepare at once the second fails at the end and finds all done.
        if not tfds_gsm8k.Gsm8k(data_dir=root).is_prepared():
            raise BoostError(
                f"the download of GSM8K to {root} failed ({_describe(error)}). Without a network, "
                "--data.path FOLDER can point at a folder with train.jsonl and test.jsonl"
            ) from error


class LocalGsm8k(tfds_gsm8k.Gsm8k, skip_registration=True):
    """The builder with local files in place of its downloads."""

    def __init__(self, *, files: Mapping[str, epath.Path], **kwargs):
        """Takes the file of each source split and what the builder takes."""
        self._files = files
        super().__init__(**kwargs)

    def _split_generators(self, dl_manager):
        del dl_manager
        return {split: self._generate_examples(file) for split, file in self._files.items()}


def _local_rows(folder: epath.Path, root: epath.Path) -> Rows:
    """The rows of local files, through tensorflow-datasets and a cache under `root`.

    The cache folder's name has the files' hash, and what it gives must equal the files' rows, so
    neither stale nor half-written data is ever served.
    """
    files = _find(folder)
    contents = {split: _read_bytes(file) for split, file in files.items()}
    seen: dict[str, str] = {}
    expected = {split: _parse(contents[split], files[split], seen) for split in SOURCE_SPLITS}
    digests = [hashlib.sha256(contents[split]).digest() for split in SOURCE_SPLITS]
    name = "gsm8k-" + hashlib.sha256(b"".join(digests)).hexdigest()[:20]
    cache = root / "boostlm" / name
    damaged = cache.exists()
    if damaged:
        # However a damaged cache shows, the remedy is the same: prepare it again.
        with contextlib.suppress(Exception):
            if rows := _read_if_equal(files, cache, expected):
                return rows
    return _prepare_local(files, expected, cache, replace=damaged)


def _prepare_local(
    files: Mapping[str, epath.Path], expected: Rows, cache: epath.Path, replace: bool
) -> Rows:
    """Prepares local files in a folder of its own and moves it to `cache` once it is complete.

    A process that is killed leaves no more than its own folder, whose name begins with
    `incomplete-`. (The builder alone would not do: two processes with one seed of `random` get the
    same temporary folder from it.)
    """
    staging = _new_folder(cache.parent)
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # it announces the staging folder
            LocalGsm8k(files=files, data_dir=staging).download_and_prepare(file_format=_FORMAT)
        rows = _read_if_equal(files, staging, expected)
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
    files: Mapping[str, epath.Path], data_dir: epath.Path, expected: Rows
) -> Rows | None:
    """What is prepared in `data_dir` if that is `expected` in any order, else None."""
    rows = _read(LocalGsm8k(files=files, data_dir=data_dir))
    equal = all(sorted(rows[split]) == sorted(expected[split]) for split in SOURCE_SPLITS)
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


def _read(builder: tfds.core.DatasetBuilder) -> Rows:
    """The rows of a prepared builder."""
    rows = {}
    for split in SOURCE_SPLITS:
        source = builder.as_data_source(split)
        records = source.__getitems__(range(len(source)))  # one batch: faster than one by one
        rows[split] = [Row(r["question"].decode(), r["answer"].decode()) for r in records]
    return rows


def _find(folder: epath.Path) -> dict[str, epath.Path]:
    """The file of each source split."""
    inner = folder / "gsm8k"
    home = inner if inner.is_dir() else folder
    files = {split: home / f"{split}.jsonl" for split in SOURCE_SPLITS}
    missing = [str(file) for file in files.values() if not file.exists()]
    if missing:
        raise BoostError(
            f"{' and '.join(missing)} missing: --data.path has to be a folder that holds "
            "train.jsonl and test.jsonl, or gsm8k/train.jsonl and gsm8k/test.jsonl"
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


def _parse(content: bytes, file: epath.Path, seen: dict[str, str]) -> list[Row]:
    """The rows of a file; `seen` maps the questions met so far to where they stand."""
    rows = []
    for number, line in enumerate(content.removesuffix(b"\n").split(b"\n"), start=1):
        where = f"{file}, line {number}"
        try:
            fields = json.loads(line.decode())
        except ValueError as error:  # no JSON, or no UTF-8
            raise BoostError(f"{where} is no JSON: {error}") from error
        if not isinstance(fields, dict):
            raise BoostError(f"{where} is no JSON object")
        for field in Row._fields:
            if not isinstance(fields.get(field), str) or not fields[field].strip():
                raise BoostError(f"{where}: the field {field!r} is missing, empty or no text")
        if len(fields) > len(Row._fields):  # which the builder would not take
            raise BoostError(f"{where} has more fields than question and answer")
        row = Row(fields["question"], fields["answer"])
        parts = row.answer.split(MARK)
        if len(parts) != 2 or not _RESULT.fullmatch(parts[1].strip()):
            raise BoostError(f"{where}: the answer has to end in one '{MARK}' and a number")
        if (key := row.question.strip()) in seen:
            # Its answer would be known from the other place, which may be another split.
            raise BoostError(f"{where} asks the same question as {seen[key]}")
        seen[key] = where
        rows.append(row)
    return rows
