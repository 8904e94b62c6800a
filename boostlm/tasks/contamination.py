"""Detects contamination: test problems that occur in training sets or few-shot examples.

Two texts overlap if they share 13 consecutive words (13-grams, the usual choice in reports on large
models), in lower case and without punctuation. Shorter texts are compared whole. Their arithmetic
signs are kept, because they may be the only difference: "3 + 4" and "3 - 4".

User data (few-shot examples, own tasks, seed examples) that overlaps the test set is rejected, and
the error names the overlapping pairs so that the user can fix the data. The packaged data sets
remove overlapping training problems by the same rule for everyone, and each run prints how many
(`Task.notes`).
"""

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from boostlm.errors import BoostError
from boostlm.tasks.base import Task

WORDS = 13  # consecutive shared words that count as an overlap

_SHOWN = 5
_PUNCTUATION = re.compile(r"[^\w\s]|_")
_SHORT_PUNCTUATION = re.compile(r"[^\w\s+*/<=>^%-]|_")


class Overlap(NamedTuple):
    """A text that shares words with a test problem.

    Attributes:
      index: index of the text.
      test: index of the test problem.
      shared: the first shared words, normalised.
    """

    index: int
    test: int
    shared: str


class NgramIndex:
    """An index of the test problems' 13-grams. Shorter problems are indexed whole."""

    __test__ = False  # pytest must not collect this class

    def __init__(self, problems: Sequence[str]) -> None:
        """Takes the test problems. A problem's number is its index."""
        self._of: dict[str, list[int]] = {}
        self._short: dict[str, int] = {}  # shorter problems -> their number of words
        for number, problem in enumerate(problems):
            for run in runs_of(problem):
                self._of.setdefault(run, []).append(number)
            if len(words := _plain_words(problem)) < WORDS:
                self._short[" ".join(words)] = len(words)

    def overlaps(self, texts: Iterable[str]) -> list[Overlap]:
        """Every overlapping pair of a text and a test problem, once each."""
        found = {}
        for index, text in enumerate(texts):
            for run in runs_of(text):
                for test in self._of.get(run, ()):
                    found.setdefault((index, test), Overlap(index, test, run))
        return list(found.values())

    def inside(self, text: str) -> list[str]:
        """The words that a text with several problems shares with the test problems.

        Short test problems must occur whole. Those of one or two words only match a whole line.
        """
        shared = [overlap.shared for overlap in self.overlaps([text, *text.split("\n")])]
        spaced = f" {' '.join(_plain_words(text))} "
        return shared + [
            short for short, size in self._short.items() if size > 2 and f" {short} " in spaced
        ]


def uncontaminated(problems: Sequence[str], test: Sequence[str]) -> list[bool]:
    """Whether each problem is free of overlap with the test problems."""
    dirty = {overlap.index for overlap in NgramIndex(test).overlaps(problems)}
    return [index not in dirty for index in range(len(problems))]


def check_contamination(task: Task) -> None:
    """Checks that no test problem occurs in the training problems or few-shot examples.

    Raises:
      BoostError: some do. The message counts all pairs and shows the first with their shared words.
    """
    test = _problems(task, "test")
    index = NgramIndex(test)
    if inside := list(dict.fromkeys(index.inside(task.few_shot))) if task.few_shot else []:
        raise BoostError(
            f"the few-shot examples of task {task.name} share words with {len(inside)} of its "
            "test problems:\n  "
            + "\n  ".join(inside[:_SHOWN])
            + "\nUse other examples (data.few_shot)"
        )
    train = _problems(task, "train")
    _refuse(index.overlaps(train), f"training problems of task {task.name}", train, test)


def check_seed_contamination(task: Task, prompts: Sequence[str]) -> None:
    """Checks that no test problem occurs in the prompts of the seed examples.

    Raises:
      BoostError: some do; see `check_contamination`.
    """
    test = _problems(task, "test")
    bare = [prompt.removeprefix(task.few_shot) for prompt in prompts]
    _refuse(NgramIndex(test).overlaps(bare), f"seed examples of task {task.name}", bare, test)


def _refuse(found: list[Overlap], what: str, texts: Sequence[str], test: Sequence[str]) -> None:
    if not found:
        return
    lines = [
        f"{_named(o.index, texts)} and test {_named(o.test, test)}: {o.shared}"
        for o in found[:_SHOWN]
    ]
    more = f"\n  and {len(found) - _SHOWN} more pairs" if len(found) > _SHOWN else ""
    raise BoostError(
        f"{len({o.index for o in found})} {what} share {WORDS} words in a row with, or equal, "
        f"{len({o.test for o in found})} test problems:\n  " + "\n  ".join(lines) + more + "\n"
        "Remove them from training. If all prompts share a template, leave the template out of "
        "Prompts.problems"
    )


def _problems(task: Task, split: str) -> Sequence[str]:
    prompts = task.prompts[split]
    return prompts.problems or [text.removeprefix(task.few_shot) for text in prompts.texts]


def _plain_words(text: str) -> list[str]:
    return _PUNCTUATION.sub("", text.lower()).split()


def runs_of(text: str) -> Iterable[str]:
    """All 13-grams of a text, the whole text if it is shorter, or nothing if it is empty."""
    words = _plain_words(text)
    if len(words) >= WORDS:
        return [" ".join(words[i : i + WORDS]) for i in range(len(words) - WORDS + 1)]
    whole = " ".join(_SHORT_PUNCTUATION.sub("", text.lower()).split())
    return [whole] if whole else []


def _named(index: int, texts: Sequence[str]) -> str:
    line = " ".join(texts[index].split())
    return f"{index} ({line if len(line) <= 40 else line[:40] + '...'!r})"
