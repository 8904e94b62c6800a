"""Data files: every format, and what is wrong with them, by file and line."""

import json

import pytest
from etils import epath

from boostlm.errors import BoostError
from boostlm.tasks.own_data.files import read_file, read_splits, split_of

ROWS = [{"q": "What is 1 + 1?", "a": "2"}, {"q": 'Say, "hi";\nplease', "a": "hi"}]


def write(folder, name, data):
    path = epath.Path(folder) / name
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def table(delimiter):
    return f'q{delimiter}a\nWhat is 1 + 1?{delimiter}2\n"Say, ""hi"";\nplease"{delimiter}hi\n'


LINES = "\n".join(map(json.dumps, ROWS))
FORMATS = {
    "lines.jsonl": LINES,
    "blank lines.jsonl": f"\n{LINES.replace(chr(10), chr(10) * 3)}\n\n",
    "crlf.jsonl": LINES.replace("\n", "\r\n"),
    "bom.jsonl": b"\xef\xbb\xbf" + LINES.encode(),
    "utf16.jsonl": LINES.encode("utf-16"),
    "lines.ndjson": LINES,
    "list.json": json.dumps(ROWS, indent=2),
    "commas.csv": table(","),
    "semicolons.csv": table(";"),
    "tabs.csv": table("\t"),
    "tabs.tsv": table("\t"),
    "bom.csv": b"\xef\xbb\xbf" + table(",").encode(),
    "utf16.csv": table(",").encode("utf-16"),
    "crlf.csv": table(",").replace("2\n", "2\r\n"),
    "empty rows.csv": table(",") + ",\n\n",
    "UPPER.CSV": table(","),
}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_same_rows(tmp_path, name):
    rows = read_file(write(tmp_path, name, FORMATS[name]))
    assert [dict(row.fields) for row in rows] == ROWS


def test_parquet(tmp_path):
    parquet, pyarrow = pytest.importorskip("pyarrow.parquet"), pytest.importorskip("pyarrow")
    path = epath.Path(tmp_path) / "rows.parquet"
    parquet.write_table(pyarrow.Table.from_pylist(ROWS), str(path))
    assert [row.fields for row in read_file(path)] == ROWS
    with pytest.raises(BoostError, match="is not a Parquet file"):
        read_file(write(tmp_path, "bad.parquet", b"PAR1 no"))


def test_where_a_row_is_counts_lines(tmp_path):
    rows = read_file(write(tmp_path, "x.csv", 'q,a\n"two\nlines",1\nnext,2\n'))
    assert [row.where.rpartition(", ")[2] for row in rows] == ["line 2", "line 4"]


WRONG = {
    "x.txt": ("q", "must end in one of"),
    "empty.jsonl": ("", "has no rows"),
    "blank.jsonl": ("\n\n", "has no rows"),
    "header.csv": ("q,a\n", "has no rows"),
    "broken.jsonl": ('{"q": 1}\n{"q": ', "line 2 is not JSON"),
    "list.jsonl": ("[1]\n", "line 1 is not a JSON object"),
    "object.json": ("{}", "is not a list of JSON objects"),
    "numbers.json": ("[1]", "row 1 is not a JSON object"),
    "deep.json": ("[" * 100_000, "is not JSON"),
    "short.csv": ("q,a\n1,2\n3\n", "line 3 has 1 cells, and the first line has 2"),
    "long.csv": ("q,a\n1,2,3\n", "line 2 has 3 cells"),
    "twice.csv": ("q,q\n1,2\n", "two columns are called 'q'"),
    "quote.csv": ('q,a\n"1,2\n', "line 2 is not a table's row"),
    "latin.jsonl": ('{"q": "caf\xe9"}'.encode("latin-1"), "line 1 is not UTF-8"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_named(tmp_path, name):
    data, said = WRONG[name]
    with pytest.raises(BoostError, match=said):
        read_file(write(tmp_path, name, data))


def test_a_folder_has_a_file_for_each_split(tmp_path):
    for name in ("train.jsonl", "dev.csv", "Test.json", "README.md", "other.jsonl"):
        write(
            tmp_path,
            name,
            FORMATS[
                "commas.csv"
                if "csv" in name
                else "list.json"
                if "json" in name and not name.endswith("l")
                else "lines.jsonl"
            ],
        )
    assert {split: len(rows) for split, rows in read_splits(str(tmp_path)).items()} == {
        "train": 2,
        "validation": 2,
        "test": 2,
    }
    write(tmp_path, "val.jsonl", LINES)
    with pytest.raises(BoostError, match=r"dev.csv and .*val.jsonl are both the validation split"):
        read_splits(str(tmp_path))


def test_a_folder_without_training_rows_and_a_missing_path_are_errors(tmp_path):
    write(tmp_path, "test.jsonl", LINES)
    with pytest.raises(BoostError, match="has no file train"):
        read_splits(str(tmp_path))
    with pytest.raises(BoostError, match="does not exist"):
        read_splits(str(tmp_path / "no"))


def test_the_names_of_splits():
    assert [split_of(name) for name in ("Train", " val ", "DEV", "eval", "holdout", "")] == [
        "train",
        "validation",
        "validation",
        "test",
        None,
        None,
    ]
