"""A task from a file of questions and answers: `data.task` jsonl.

`data.prompt` and `data.answer` name fields of the rows; `data.template` may build the prompt from
several fields; `data.verifier` says how responses are graded. The splits are those of a folder's
files, of a field (`data.split`), or a fixed share of the rows that keeps near-duplicates together
(`splits`). What a file has beyond `data.train_prompts` can train a seed model.
"""

import string
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from boostlm.config import SPLITS, DataConfig
from boostlm.errors import BoostError
from boostlm.tasks.base import Prompts, Task, need_prompts
from boostlm.tasks.few_shot import load_few_shot
from boostlm.tasks.own_data.files import SourceRow, read_splits, split_of
from boostlm.tasks.own_data.splits import split_rows
from boostlm.verifiers.base import DataRow, UnusableReference, Verifier, made_wrong
from boostlm.verifiers.registry import verifier_of

_SEPARATOR = "\n\n"  # between few-shot examples, and therefore the stop string
_SHOWN = 5


class OwnProblem(NamedTuple):
    """A row as the task uses it.

    Attributes:
      prompt: without few-shot examples.
      group: of the report.
      problem: the prompt field alone, for the comparison of problems.
      reference: in the verifier's form.
    """

    prompt: str
    group: str
    problem: str
    reference: Any


class OwnAnswerKey:
    """The references of one split; see `AnswerKey`."""

    def __init__(self, verifier: Verifier, references: Sequence[Any], prefix: str) -> None:
        """Takes one reference per prompt, and the prefix of responses."""
        self._verifier, self._references, self._prefix = verifier, tuple(references), prefix

    def grade(self, prompt_ids: Sequence[int], responses: Sequence[str]) -> np.ndarray:
        """Whether each response is right: bool [len(responses)]."""
        return self._verifier.grade([self._references[i] for i in prompt_ids], list(responses))

    def correct_response(self, prompt_id: int, rng: np.random.Generator) -> str:
        """A right response, such as the answer itself."""
        return self._prefix + self._verifier.right(self._references[prompt_id], rng)

    def wrong_response(self, prompt_id: int, rng: np.random.Generator) -> str:
        """A plausible mistake or another prompt's answer, which the verifier refuses."""
        return self._prefix + made_wrong(self._verifier, self._references, prompt_id, rng)


class OwnDataTask(Task):
    """Questions and answers of a file; see `Task`. Its public attributes hold no references."""

    name = "jsonl"

    def __init__(self, data: DataConfig) -> None:
        """Reads `data.path`.

        Raises:
          BoostError: a file or row is not usable; up to 5 rows are named, by line and field.
        """
        verifier = verifier_of(data.verifier)
        found = problems_by_split(read_splits(data.path), data, verifier)
        need_prompts(data, {split: len(found[split]) for split in SPLITS}, data.path)
        self.few_shot = load_few_shot(data.few_shot, ".+", _SEPARATOR)
        self.stop_strings = (_SEPARATOR,) if self.few_shot else ()
        last = found["train"][0].prompt[-1:]
        self.response_prefix = "" if last.isspace() else " "
        limits = {"train": data.train_prompts}
        kept = {split: found[split][: limits.get(split, data.eval_prompts)] for split in SPLITS}
        self.prompts = {
            split: Prompts(
                tuple(self.few_shot + p.prompt for p in problems),
                tuple(p.group for p in problems),
                tuple(p.problem for p in problems),
            )
            for split, problems in kept.items()
        }
        self.__references = {split: [p.reference for p in kept[split]] for split in SPLITS}
        self.__seed_problems = found["train"][data.train_prompts :]
        self.__verifier = verifier
        sizes = ", ".join(f"{len(found[split]):,} {split}" for split in SPLITS)
        self.notes = (f"{data.path}: {sizes} problems",)

    def answer_key(self, split: str) -> OwnAnswerKey:
        """The answer key of one of SPLITS; see `Task`."""
        return OwnAnswerKey(self.__verifier, self.__references[split], self.response_prefix)

    def seed_examples(self, seed: int) -> list[tuple[str, str]]:
        """The training rows that are not prompts, with right responses; `seed` orders them.

        Raises:
          BoostError: no row is left over.
        """
        if not self.__seed_problems:
            return super().seed_examples(seed)
        rng = np.random.default_rng(seed)
        order = rng.permutation(len(self.__seed_problems))
        return [self.__example(self.__seed_problems[i], rng) for i in order]

    def __example(self, problem: OwnProblem, rng: np.random.Generator) -> tuple[str, str]:
        response = self.response_prefix + self.__verifier.right(problem.reference, rng)
        return self.few_shot + problem.prompt, response

    def tokenizer_texts(self) -> list[str]:
        """Few-shot examples (once), training prompts, and the rows that are not prompts."""
        rng = np.random.default_rng(0)
        pairs = [self.__example(problem, rng) for problem in self.__seed_problems]
        texts = [*self.prompts["train"].texts, *(text for pair in pairs for text in pair)]
        return [self.few_shot] * bool(self.few_shot) + [
            text.removeprefix(self.few_shot) for text in texts
        ]

    def __repr__(self) -> str:
        counts = ", ".join(f"{split}={len(p.texts)}" for split, p in self.prompts.items())
        return f"OwnDataTask({counts}, seed={len(self.__seed_problems)})"


def problems_by_split(
    rows: Mapping[str, Sequence[SourceRow]], data: DataConfig, verifier: Verifier
) -> dict[str, list[OwnProblem]]:
    """The problems of each of SPLITS.

    Splits that the rows do not have are taken from the training rows.

    Raises:
      BoostError: a row has no such field, or an answer that the verifier cannot use.
    """
    problems: dict[str, list[OwnProblem]] = {split: [] for split in SPLITS}
    wrong: list[str] = []
    for source, found in rows.items():
        for row in found:
            try:
                problem = problem_of(row, data, verifier)
                split = _split_by_field(row, data.split) if data.split else source
                problems[split].append(problem)
            except UnusableReference as error:
                wrong.append(f"{row.where}: {error}")
    if wrong:
        more = f"\n  and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
        total = sum(map(len, rows.values()))
        raise BoostError(
            f"data.path: {len(wrong)} of {total} rows cannot be used:\n  "
            + "\n  ".join(wrong[:_SHOWN])
            + f"{more}\nMend or remove these rows, or choose another data.verifier; "
            "`boostlm check` shows all kinds of problems at once"
        )
    missing = [split for split in SPLITS if not problems[split]]
    if missing and missing != list(SPLITS):
        pool, problems["train"] = problems["train"], []
        for problem, split in zip(pool, split_rows([p.problem for p in pool]), strict=True):
            problems[split if split in missing else "train"].append(problem)
    return problems


def problem_of(row: SourceRow, data: DataConfig, verifier: Verifier) -> OwnProblem:
    """A row's prompt, group and reference.

    Raises:
      UnusableReference: a field is missing or empty, or the verifier cannot use the answer.
    """
    problem = _field(row, data.prompt, "data.prompt").strip()
    prompt = fill_template(data.template, row) if data.template else problem
    if data.answer not in row.fields:
        raise UnusableReference(_no_field(row, data.answer, "data.answer"))
    reference = verifier.read(DataRow(row.fields[data.answer], row.fields, prompt))
    group = _field(row, data.group, "data.group").strip() if data.group else "all"
    return OwnProblem(prompt, group, problem, reference)


def fill_template(template: str, row: SourceRow) -> str:
    r"""The template with the row's values in place of {FIELD}, and line breaks in place of \n."""
    template = template.replace("\\n", "\n")  # as it is typed in a shell
    names = [name for _, name, _, _ in string.Formatter().parse(template) if name is not None]
    values = {name: _field(row, name, "data.template") for name in names}
    return template.format_map(values)


def _field(row: SourceRow, name: str, setting: str) -> str:
    if name not in row.fields:
        raise UnusableReference(_no_field(row, name, setting))
    value = row.fields[name]
    if isinstance(value, list) and all(isinstance(x, str) for x in value):  # options
        return "\n".join(f"{letter}) {x}" for letter, x in zip(string.ascii_uppercase, value))
    if value is None or isinstance(value, list | dict) or not str(value).strip():
        raise UnusableReference(f"the field {name!r} ({setting}) is empty, or no text")
    return str(value)


def _no_field(row: SourceRow, name: str, setting: str) -> str:
    return f"no field {name!r} ({setting}); it has {', '.join(map(repr, row.fields))}"


def _split_by_field(row: SourceRow, field: str) -> str:
    name = _field(row, field, "data.split")
    split = split_of(name)
    if split is None:
        raise UnusableReference(
            f"the field {field!r} (data.split) is {name!r}, which is none of {', '.join(SPLITS)}"
        )
    return split
