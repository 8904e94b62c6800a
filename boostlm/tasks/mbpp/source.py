"""Loads MBPP's problems with our own tensorflow-datasets builder and the official splits.

The builder does not need TensorFlow. It downloads the authors' file or reads a local copy.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from etils import epath

from boostlm.errors import BoostError
from boostlm.tasks.mbpp.check import MbppProblem
from boostlm.tasks.tfds_data import DataSet, Files, json_lines, load

URL = "https://raw.githubusercontent.com/google-research/google-research/master/mbpp/mbpp.jsonl"
OFFICIAL_SPLITS = {  # task_ids, as in appendix A of Austin et al. 2021 and on the data set's card
    "prompt": range(1, 11),
    "test": range(11, 511),
    "validation": range(511, 601),
    "train": range(601, 975),
}

_FILE = "mbpp.jsonl"
_TEXTS = ("text", "code", "test_setup_code")
_LISTS = ("test_list", "challenge_test_list")


def load_problems(path: str = "") -> Mapping[str, list[MbppProblem]]:
    """MBPP's problems by official split, in arbitrary order; see `tfds_data.load`.

    Args:
      path: a folder that contains mbpp.jsonl or mbpp/mbpp.jsonl. If empty, the file is downloaded.
    """
    return load(MBPP, path)


class Mbpp(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Mostly Basic Python Problems: 974 short task descriptions, each with three asserts."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        texts = {name: tfds.features.Text() for name in _TEXTS}
        lists = {name: tfds.features.Sequence(tfds.features.Text()) for name in _LISTS}
        task_id = {"task_id": tfds.features.Scalar(np.int64)}
        return tfds.core.DatasetInfo(
            builder=self,
            description="Short Python problems with asserts; Google Research, CC BY 4.0.",
            features=tfds.features.FeaturesDict({**task_id, **texts, **lists}),
            homepage="https://github.com/google-research/google-research/tree/master/mbpp",
            citation="Austin et al. 2021, Program Synthesis with Large Language Models, "
            "arXiv:2108.07732",
        )

    def _file(self, dl_manager: "tfds.download.DownloadManager") -> epath.Path:
        return epath.Path(dl_manager.download(URL))

    def _split_generators(
        self, dl_manager: "tfds.download.DownloadManager"
    ) -> dict[str, Iterator[tuple[int, dict[str, Any]]]]:
        file = self._file(dl_manager)
        return {split: self._generate_examples(file, split) for split in OFFICIAL_SPLITS}

    def _generate_examples(
        self, file: epath.Path, split: str
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        for _, fields in json_lines(file.read_bytes(), file):
            if fields["task_id"] in OFFICIAL_SPLITS[split]:
                yield fields["task_id"], fields


class LocalMbpp(Mbpp, skip_registration=True):
    """The builder, reading a local file instead of a download."""

    name = "mbpp"

    def __init__(self, *, files: Files, **kwargs: Any) -> None:
        """Takes the local file, keyed by file name, and the builder's arguments."""
        self._files = files
        super().__init__(**kwargs)

    def _file(self, dl_manager: "tfds.download.DownloadManager") -> epath.Path:
        del dl_manager
        return self._files[_FILE]


def _row(record: Mapping[str, Any]) -> MbppProblem:
    texts = {name: record[name].decode() for name in _TEXTS}
    lists = {name: [text.decode() for text in record[name]] for name in _LISTS}
    return MbppProblem.from_dict({"task_id": int(record["task_id"]), **texts, **lists})


def _parse(files: Files, contents: Mapping[str, bytes]) -> dict[str, list[MbppProblem]]:
    """The problems of the file, by official split."""
    problems: dict[str, list[MbppProblem]] = {split: [] for split in OFFICIAL_SPLITS}
    seen: dict[int, str] = {}  # task_id -> location
    for where, fields in json_lines(contents[_FILE], files[_FILE]):
        number = fields.get("task_id")
        split = next((s for s, ids in OFFICIAL_SPLITS.items() if number in ids), None)
        if type(number) is not int or split is None:
            raise BoostError(f"{where}: task_id is {number!r}, not a number from 1 to 974")
        if number in seen:
            raise BoostError(f"{where}: task_id {number} already occurs in {seen[number]}")
        for name in _TEXTS:
            empty_is_fine = name == "test_setup_code"
            if not isinstance(fields.get(name), str) or not (fields[name].strip() or empty_is_fine):
                raise BoostError(f"{where}: the field {name!r} is missing, empty or not a string")
        for name in _LISTS:
            found = fields.get(name)
            if not isinstance(found, list) or not all(isinstance(text, str) for text in found):
                raise BoostError(f"{where}: the field {name!r} is missing or not a list of strings")
        if len(fields) > 1 + len(_TEXTS) + len(_LISTS):  # the builder rejects unknown fields
            raise BoostError(f"{where} has more fields than {', '.join(_TEXTS + _LISTS)}, task_id")
        if not fields["test_list"]:
            raise BoostError(f"{where}: test_list is empty")
        seen[number] = where
        problems[split].append(MbppProblem.from_dict(fields))
    for split, ids in OFFICIAL_SPLITS.items():
        if not problems[split]:
            raise BoostError(
                f"{files[_FILE]} has no {split} problem (task_id {ids[0]} to {ids[-1]})"
            )
    return problems


MBPP = DataSet(
    title="MBPP",
    folder="mbpp",
    files=(_FILE,),
    splits=tuple(OFFICIAL_SPLITS),
    remote=lambda data_dir: Mbpp(data_dir=data_dir),
    local=lambda files, data_dir: LocalMbpp(files=files, data_dir=data_dir),
    row=_row,
    parse=_parse,
)
