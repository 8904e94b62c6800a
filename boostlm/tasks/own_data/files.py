"""Reads rows from data files: JSON lines, JSON, CSV, TSV or Parquet, a folder, or hf://NAME."""

import csv
import importlib
import io
import json
import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from etils import epath

from boostlm.config import SPLITS
from boostlm.errors import BoostError
from boostlm.user_code import open_path

SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")
HUB = "hf://"

# What people call the splits; the first name is ours.
_SPLIT_NAMES = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing", "eval"),
}


class SourceRow(NamedTuple):
    """A row of a file.

    Attributes:
      where: the file and the line or row, for messages.
      fields: its values by field.
    """

    where: str
    fields: Mapping[str, Any]


def read_splits(path: str) -> dict[str, list[SourceRow]]:
    """The rows by split; a single file is all "train".

    Args:
      path: a file, a folder with a file named after each split, or hf://NAME[/CONFIG] of the
        Hugging Face hub.

    Raises:
      BoostError: something is missing or malformed. The message names the file and the line.
    """
    if path.startswith(HUB):
        return _hub_splits(path)
    found = open_path(path, "data.path")
    if not found.exists():
        raise BoostError(f"data.path: {path} does not exist")
    if not found.is_dir():
        return {"train": read_file(found)}
    files: dict[str, epath.Path] = {}
    for file in sorted(found.iterdir()):
        split = split_of(file.stem)
        if split and file.suffix.lower() in SUFFIXES:
            if split in files:
                raise BoostError(f"data.path: {files[split]} and {file} are both the {split} split")
            files[split] = file
    if "train" not in files:
        raise BoostError(
            f"data.path: the folder {path} has no file train with one of {', '.join(SUFFIXES)}"
        )
    return {split: read_file(file) for split, file in files.items()}


def split_of(name: str) -> str | None:
    """The split that a name means, or None."""
    word = str(name).strip().lower()
    return next((split for split in SPLITS if word in _SPLIT_NAMES[split]), None)


def read_file(file: epath.Path) -> list[SourceRow]:
    """The rows of one file. Rows without any value are left out.

    Raises:
      BoostError: it is malformed, empty, or of an unknown kind.
    """
    kind = file.suffix.lower()
    if kind not in SUFFIXES:
        raise BoostError(f"{file}: files must end in one of {', '.join(SUFFIXES)}")
    try:
        data = file.read_bytes()
    except OSError as error:
        raise BoostError(f"{file} cannot be read: {error.strerror or error}") from error
    if kind == ".parquet":
        rows = list(_parquet_rows(data, file))
    else:
        text = _decoded(data, file)
        if kind in (".csv", ".tsv"):
            rows = list(_table_rows(text, file, "\t" if kind == ".tsv" else None))
        else:
            rows = list(_json_rows(text, file, lines=kind != ".json"))
    if not rows:
        raise BoostError(f"{file} has no rows")
    return rows


def _decoded(data: bytes, file: epath.Path) -> str:
    wide = data.startswith((b"\xff\xfe", b"\xfe\xff"))
    try:
        return data.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise BoostError(
            f"{file}, line {line} is not UTF-8 text ({error.reason}): save the file as UTF-8"
        ) from error


def _json_rows(text: str, file: epath.Path, lines: bool) -> Iterator[SourceRow]:
    if lines:
        parts = [(f"{file}, line {i}", line) for i, line in enumerate(text.split("\n"), 1)]
    else:
        parts = [(str(file), text)]
    for where, part in parts:
        if not part.strip():
            continue
        try:
            value = json.loads(part)
        except (ValueError, RecursionError) as error:
            raise BoostError(f"{where} is not JSON: {error}") from error
        if lines:
            yield _json_row(where, value)
        elif isinstance(value, list):
            yield from (_json_row(f"{file}, row {i}", row) for i, row in enumerate(value, 1))
        else:
            raise BoostError(f"{file} is not a list of JSON objects")


def _json_row(where: str, value: Any) -> SourceRow:
    if not isinstance(value, dict):
        raise BoostError(f"{where} is not a JSON object with a value for each field")
    return SourceRow(where, value)


def _table_rows(text: str, file: epath.Path, delimiter: str | None) -> Iterator[SourceRow]:
    first = text.partition("\n")[0]
    if delimiter is None:
        delimiter = max(",;\t", key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        names = [name.strip() for name in next(reader, [])]
        twice = {name for name in names if names.count(name) > 1 and name}
        if twice:
            raise BoostError(f"{file}: two columns are called {sorted(twice)[0]!r}")
        line = reader.line_num + 1
        for cells in reader:
            where, line = f"{file}, line {line}", reader.line_num + 1
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) != len(names):
                raise BoostError(
                    f"{where} has {len(cells)} cells, and the first line has {len(names)}: quote "
                    f"cells that contain {delimiter!r} or a line break"
                )
            yield SourceRow(where, dict(zip(names, cells, strict=True)))
    except csv.Error as error:
        raise BoostError(f"{file}, line {reader.line_num} is not a table's row: {error}") from error


def _parquet_rows(data: bytes, file: epath.Path) -> Iterator[SourceRow]:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError as error:
        raise BoostError(f"{file} needs the package pyarrow: pip install pyarrow") from error
    try:
        rows = parquet.read_table(io.BytesIO(data)).to_pylist()
    except (ArrowException, OSError) as error:
        raise BoostError(f"{file} is not a Parquet file: {error}") from error
    for i, row in enumerate(rows, 1):
        yield SourceRow(f"{file}, row {i}", _without_nan(row))


def _hub_splits(path: str) -> dict[str, list[SourceRow]]:
    """The splits of a data set of the Hugging Face hub, by the package `datasets`."""
    try:
        datasets = importlib.import_module("datasets")
    except ImportError as error:
        raise BoostError(
            f"data.path: {path} needs the package datasets: pip install datasets"
        ) from error
    parts = path.removeprefix(HUB).split("/")
    name, rest = "/".join(parts[:2]), parts[2:]
    try:
        loaded = datasets.load_dataset(name, *rest)
    except Exception as error:  # each part of the package raises its own
        raise BoostError(f"data.path: {path} cannot be loaded: {error}") from error
    found = {}
    for split_name, rows in loaded.items():
        if split := split_of(split_name):
            places = enumerate(rows, 1)
            found[split] = [SourceRow(f"{path} {split_name}, row {i}", r) for i, r in places]
    if "train" not in found:
        raise BoostError(f"data.path: {path} has no train split, but {', '.join(loaded)}")
    return found


def _without_nan(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row whose missing numbers, which tables keep as NaN, are None."""
    return {
        name: None if isinstance(value, float) and math.isnan(value) else value
        for name, value in row.items()
    }
