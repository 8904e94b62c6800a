"""Reads the files that people send back: what spreadsheet programs make of a queue.

They change the encoding, the delimiter, the line ends, the form of numbers, and texts that look
like formulas. A cell is read if it can mean only one thing.
"""

import csv
import io
import json
import re
import sys
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

from etils import epath

from boostlm.errors import BoostError

_TABLES, _JSON = (".csv", ".tsv", ".txt"), (".jsonl", ".ndjson")
_SEPARATOR_LINE = re.compile(r'"?sep=([^"\r\n])', re.IGNORECASE)  # Excel's own first line
_MOST_TITLES = 20  # rows that may stand above the one with the columns' names
# What programs write in place of a formula that they cannot compute, or of a number too wide.
_ERROR_VALUE = re.compile(r"#[^\W\d_][^\W_/0]*/?0?[!?]|#N/A|#NV|#{3,}|Err:[0-9]{3}")
_WHOLE = re.compile(r"([0-9]{1,18})(?:[.,]0*)?")
_GROUPED = re.compile(
    r"([0-9]{1,3}(?:([.,' \u00a0\u202f\u2019])[0-9]{3})(?:\2[0-9]{3}){0,4})(?:[.,]0*)?"
)


class AnswerFile(NamedTuple):
    """The rows of a file.

    Attributes:
      rows: (its first line, the row or what is wrong with it) of each row that is not empty.
      guessed: whether the file is not UTF-8 or UTF-16 and was read as Windows-1252.
    """

    rows: Iterator[tuple[int, dict[str, Any] | str]]
    guessed: bool = False


def read_rows(path: epath.Path, columns: Sequence[str]) -> AnswerFile:
    """The rows of a file of JSON lines or of a table, whatever program wrote the table.

    Args:
      path: the file. A table's delimiter is a comma, a semicolon, a tab or a bar.
      columns: those that a table must have, in any order and among others.

    Raises:
      BoostError: the file as a whole cannot be read.
    """
    suffix = path.suffix.lower()
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BoostError(f"{path} cannot be read: {error.strerror or error}") from error
    if suffix not in (*_TABLES, *_JSON):
        raise BoostError(
            f"{path}: only .csv and .jsonl files can be read (and .tsv, .txt, .ndjson): save a "
            "spreadsheet as CSV"
        )
    try:
        text = _decode(data)
    except UnicodeDecodeError as error:
        raise BoostError(f"{path} is damaged: {error}") from error
    return AnswerFile(_json_rows(text)) if suffix in _JSON else _table(text, path, columns)


def whole_numbers(cell: object) -> set[int]:
    """The whole numbers that a cell may mean: 7.0 is 7, and 1.000 may be 1 or 1000."""
    text = str(cell).strip().removeprefix("'")
    if text.startswith('="'):  # a formula that keeps digits from being taken for a number
        text = text[2:].removesuffix('"')
    found = set()
    if match := _WHOLE.fullmatch(text):
        found.add(int(match[1]))
    if match := _GROUPED.fullmatch(text):
        found.add(int(re.sub("[^0-9]", "", match[1])))
    return found


def _decode(data: bytes) -> str:
    """A file's text; bytes that are not UTF-8 become lone surrogates."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16")
    for encoding, start in (("utf-16-le", rb"[^\0]\0[^\0]\0"), ("utf-16-be", rb"\0[^\0]\0[^\0]")):
        if re.match(start, data):
            return data.decode(encoding)
    return data.decode("utf-8-sig", "surrogateescape")


def _is_windows_1252(text: str) -> bool:
    """Whether none of the characters beyond ASCII is UTF-8; else a few bytes are just damaged."""
    beyond = re.findall("[^\0-\x7f]", text)
    return bool(beyond) and all("\udc80" <= c <= "\udcff" for c in beyond)


def _json_rows(text: str) -> Iterator[tuple[int, dict[str, Any] | str]]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            # Numbers as they were written: 1.50 is an answer of four characters.
            row = json.loads(line, parse_int=str, parse_float=str)
        except (ValueError, RecursionError):
            row = None
        yield number, row if isinstance(row, dict) else "not a JSON object"


def _table(text: str, path: epath.Path, columns: Sequence[str]) -> AnswerFile:
    csv.field_size_limit(sys.maxsize)  # else a prompt of 131,073 characters is an error
    names, delimiter = _header(text, path, columns)
    # Only the prompts' texts can show that the encoding was guessed right.
    guessed = "text" in names and _is_windows_1252(text)
    if guessed:
        text = text.encode("utf-8", "surrogateescape").decode("cp1252", "surrogateescape")
    return AnswerFile(_table_rows(_reader(text, delimiter), names, columns), guessed)


def _reader(text: str, delimiter: str) -> Any:
    return csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)


def _names(cells: Sequence[str]) -> list[str]:
    return [cell.strip().lower() for cell in cells]


def _header(text: str, path: epath.Path, columns: Sequence[str]) -> tuple[list[str], str]:
    """The columns' names and the delimiter, from the first row that has all names."""
    named = _SEPARATOR_LINE.match(text)
    for delimiter in dict.fromkeys((*(named[1] if named else ""), *",;\t|")):
        reader = _reader(text, delimiter)
        try:
            for cells in islice(reader, _MOST_TITLES):
                names = _names(cells)
                if set(columns) <= set(names):
                    twice = [name for name in (*columns, "text") if names.count(name) > 1]
                    if twice:
                        raise BoostError(f"{path} has two columns named {', '.join(twice)}")
                    return names, delimiter
        except csv.Error:
            continue
    first = next((line for line in text.splitlines() if line.strip()), "")
    names = _names(re.split("[,;\t|]", first.replace('"', "")))
    lacking = [name for name in columns if name not in names]
    raise BoostError(f"{path} has no column {', '.join(lacking or columns)} in its first line")


def _table_rows(
    reader: Any, names: list[str], columns: Sequence[str]
) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """The rows below the header."""
    while _names(next(reader)) != names:
        pass
    needed = 1 + max(names.index(name) for name in columns if name != "answer")
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield line, f"unreadable ({error})"
            continue
        while cells and not cells[-1].strip() and len(cells) > needed:
            cells.pop()  # Excel leaves out some empty cells at the end, and adds others
        if not any(cell.strip() for cell in cells):
            continue
        if needed <= len(cells) <= len(names):
            cells += [""] * (len(names) - len(cells))
            yield line, _cleaned(dict(zip(names, cells, strict=True)))
        else:
            yield line, f"{len(cells)} cells, but the first line has {len(names)}"


def _cleaned(row: dict[str, str]) -> dict[str, str] | str:
    """A row without the apostrophes before formulas; or what the program made of its answer."""
    value = row["answer"].strip()
    if _ERROR_VALUE.fullmatch(value):
        return f"the answer is {value}: the spreadsheet program put it in place of what was typed"
    return {name: _unescaped(cell) for name, cell in row.items()}


def _unescaped(cell: str) -> str:
    """A cell without the apostrophe that keeps it from being a formula; quoted text stays."""
    escaped = re.match("'[=+@-]", cell) and "'" not in cell[1:]
    return cell[1:] if escaped else cell
