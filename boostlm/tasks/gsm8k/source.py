"""Loads GSM8K's rows with the tensorflow-datasets builder, from a download or local files."""

import re
from collections.abc import Generator, Mapping
from typing import Any, NamedTuple

import tensorflow_datasets as tfds
from etils import epath
from tensorflow_datasets.text import gsm8k as tfds_gsm8k

from boostlm.errors import BoostError
from boostlm.tasks.tfds_data import DataSet, Files, json_lines, load
from boostlm.verifiers.number.slips import MARK

SOURCE_SPLITS = ("train", "test")

_RESULT = re.compile(r"-?[0-9]+(,[0-9]{3})*(\.[0-9]+)?")


class Row(NamedTuple):
    """One row of the data set.

    Attributes:
      question: the problem.
      answer: the worked solution with <<calculator>> annotations, a line break and `#### N`.
    """

    question: str
    answer: str


def load_gsm8k_rows(path: str = "") -> Mapping[str, list[Row]]:
    """GSM8K's rows by source split, in arbitrary order; see `tfds_data.load`.

    Args:
      path: a folder that contains train.jsonl and test.jsonl, directly or in gsm8k/. If empty, the
        files are downloaded.
    """
    return load(GSM8K, path)


class LocalGsm8k(tfds_gsm8k.Gsm8k, skip_registration=True):
    """The builder, reading local files instead of downloads."""

    def __init__(self, *, files: Files, **kwargs: Any) -> None:
        """Takes the file of each source split, keyed by file name, and the builder's arguments."""
        self._files = files
        super().__init__(**kwargs)

    def _split_generators(
        self, dl_manager: "tfds.download.DownloadManager"
    ) -> dict[str, Generator[tuple[int, Any]]]:
        del dl_manager
        return {
            name.removesuffix(".jsonl"): self._generate_examples(file)
            for name, file in self._files.items()
        }


def _row(record: Mapping[str, Any]) -> Row:
    return Row(record["question"].decode(), record["answer"].decode())


def _parse(files: Files, contents: Mapping[str, bytes]) -> dict[str, list[Row]]:
    """The rows of the files."""
    seen: dict[str, str] = {}  # question -> location
    return {
        name.removesuffix(".jsonl"): _parse_file(contents[name], file, seen)
        for name, file in files.items()
    }


def _parse_file(content: bytes, file: epath.Path, seen: dict[str, str]) -> list[Row]:
    rows = []
    for where, fields in json_lines(content, file):
        for field in Row._fields:
            if not isinstance(fields.get(field), str) or not fields[field].strip():
                raise BoostError(f"{where}: the field {field!r} is missing, empty or not a string")
        if len(fields) > len(Row._fields):  # the builder rejects unknown fields
            raise BoostError(f"{where} has more fields than question and answer")
        row = Row(fields["question"], fields["answer"])
        parts = row.answer.split(MARK)
        if len(parts) != 2 or not _RESULT.fullmatch(parts[1].strip()):
            raise BoostError(
                f"{where}: the answer must contain '{MARK}' once, followed by a number at the end"
            )
        if (key := row.question.strip()) in seen:
            # The other row may be in another split and would reveal the answer.
            raise BoostError(f"{where} asks the same question as {seen[key]}")
        seen[key] = where
        rows.append(row)
    return rows


GSM8K = DataSet(
    title="GSM8K",
    folder="gsm8k",
    files=("train.jsonl", "test.jsonl"),
    splits=SOURCE_SPLITS,
    remote=lambda data_dir: tfds_gsm8k.Gsm8k(data_dir=data_dir),
    local=lambda files, data_dir: LocalGsm8k(files=files, data_dir=data_dir),
    row=_row,
    parse=_parse,
)
