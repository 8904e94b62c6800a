"""Keeps test problems out of training sets and few-shot examples, by runs of words they share.

Two texts overlap if they share 13 consecutive words (13-grams, as is usual in reports on large
models), in lower case and without punctuation. A text that has fewer words is compared whole, and
its signs of arithmetic count, as they may be all that differs: "3 + 4" and "3 - 4".

What comes of it: data that a user chose (few-shot examples, a task of one's own, seed examples) is
refused, with the pairs named, as only its owner can say what is wrong with it. In the packaged data
sets, which nobody can be asked to repair, the training problems that overlap the test set are left
out by the same rule for everyone, and a run says how many (`Task.notes`).
"""

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from boostlm.errors import BoostError
from boostlm.tasks.base import Task

WORDS = 13  # consecutive words that may not be shared

_SHOWN = 5
_PUNCTUATION = re.compile(r"[^\w\s]|_")
_SHORT_PUNCTUATION = re.compile(r"[^\w\s+*/<=>^%-]|_")


class Overlap(NamedTuple):
    """A text that shares words with a test problem.

    Attributes:
      index: of the text.
      test: index of the test problem.
      shared: the first words that are shared, normalised.
    """

    index: int
    test: int
    shared: str


class NgramIndex:
    """Every run of 13 words in the test problems, to look others up in; shorter problems whole."""

    __test__ = False  # no test case, whatever its name says to pytest

    def __init__(self, problems: Sequence[str]) -> None:
        """Takes the test problems; their order gives them their numbers."""
        self._of: dict[str, list[int]] = {}
        self._short: dict[str, int] = {}  # words of problems that are shorter: their lengths
        for number, problem in enumerate(problems):
            for run in _runs(problem):
                self._of.setdefault(run, []).append(number)
            if len(words := _plain_words(problem)) < WORDS:
                self._short[" ".join(words)] = len(words)

    def overlaps(self, texts: Iterable[str]) -> list[Overlap]:
        """Every pair of a text and a test problem that overlap, once each."""
        found = {}
        for index, text in enumerate(texts):
            for run in _runs(text):
                for test in self._of.get(run, ()):
                    found.setdefault((index, test), Overlap(index, test, run))
        return list(found.values())

    def inside(self, text: str) -> list[str]:
        """The words that a text of many problems shares with test problems, whole short ones too.

        A problem of one or two words is looked for nowhere but on a line of its own.
        """
        shared = [overlap.shared for overlap in self.overlaps([text, *text.splitlines()])]
        spaced = f" {' '.join(_plain_words(text))} "
        return shared + [
            short for short, size in self._short.items() if size > 2 and f" {short} " in spaced
        ]


def uncontaminated(problems: Sequence[str], test: Sequence[str]) -> list[bool]:
    """For each problem, whether it overlaps no test problem."""
    dirty = {overlap.index for overlap in NgramIndex(test).overlaps(problems)}
    return [index not in dirty for index in range(len(problems))]


def check_contamination(task: Task) -> None:
    """Makes sure that no test problem is among the training problems or few-shot examples.

    Raises:
      BoostError: some are; it names the first pairs, with the words they share, and counts all.
    """
    test = _problems(task, "test")
    index = NgramIndex(test)
    if inside := list(dict.fromkeys(index.inside(task.few_shot))) if task.few_shot else []:
        raise BoostError(
            f"the few-shot examples of task {task.name} share words with {len(inside)} of its "
            "test problems, and would give them away:\n  "
            + "\n  ".join(inside[:_SHOWN])
            + "\nTake other examples (data.few_shot)"
        )
    train = _problems(task, "train")
    _refuse(index.overlaps(train), f"training problems of task {task.name}", train, test)


def check_seed_contamination(task: Task, prompts: Sequence[str]) -> None:
    """The same for the prompts of the examples that a seed model is trained on."""
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
        f"{len({o.index for o in found})} {what} share {WORDS} words in a row, or are the same as, "
        f"{len({o.test for o in found})} test problems:\n  " + "\n  ".join(lines) + more + "\n"
        "Leave them out of training; a template that all prompts share does not count if "
        "Prompts.problems leaves it out"
    )


def _problems(task: Task, split: str) -> Sequence[str]:
    prompts = task.prompts[split]
    return prompts.problems or [text.removeprefix(task.few_shot) for text in prompts.texts]


def _plain_words(text: str) -> list[str]:
    return _PUNCTUATION.sub("", text.lower()).split()


def _runs(text: str) -> Iterable[str]:
    """Every 13 words of a text, or all of it if there are fewer; nothing of an empty text."""
    words = _plain_words(text)
    if len(words) >= WORDS:
        return [" ".join(words[i : i + WORDS]) for i in range(len(words) - WORDS + 1)]
    whole = " ".join(_SHORT_PUNCTUATION.sub("", text.lower()).split())
    return [whole] if whole else []


def _named(index: int, texts: Sequence[str]) -> str:
    line = " ".join(texts[index].split())
    return f"{index} ({line if len(line) <= 40 else line[:40] + '...'!r})"
