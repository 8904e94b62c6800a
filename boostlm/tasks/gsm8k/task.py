r"""GSM8K: grade-school word problems with step-by-step solutions.

A prompt is "Question: ...\nAnswer:"; a response is " ...steps...\n#### N". The data set's
calculator annotations, such as <<6*8=48>>, are removed from the solutions. They were meant for an
external calculator; without one, they only repeat each step.

Of the 7,473 training problems, 7,000 are for training and 473 are the validation split. The split
is fixed: problems are ordered by a hash of the question, so the file order, the run's seed and
library versions do not change it. Four training problems share 13 consecutive words with one of the
1,319 test problems (see `contamination`). They are in the validation split and are never trained
on.

`data.few_shot` adds few-shot examples to every prompt. The packaged gsm8k_3shot.txt contains three
problems of our own, so no split contains them. A blank line ends each example and each response.
Blank lines inside a solution (4 training and 2 test solutions have one) are therefore removed,
from labels too.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from boostlm.config import DataConfig
from boostlm.engine.outside_text import without_blank_lines
from boostlm.errors import BoostError
from boostlm.tasks.base import Prompts, Task, need_prompts
from boostlm.tasks.contamination import uncontaminated
from boostlm.tasks.few_shot import load_few_shot
from boostlm.tasks.gsm8k.solutions import solution_of
from boostlm.tasks.gsm8k.source import Row, load_gsm8k_rows
from boostlm.verifiers.number.final_answer import is_correct
from boostlm.verifiers.number.slips import MARK, NUMBERS, slip

TRAINING_SHARE = (7000, 7473)  # fraction of the training problems; the rest is for validation
MOST_NUMBERS = 6  # questions with this many numbers or more share a group

_ORDER_SEED = "boostlm-gsm8k-1"  # fixes the order of the problems, and so the splits
_ANNOTATION = re.compile(r"<<[^<>\n]*>>")
_EXAMPLE = r"Question: .+\nAnswer: .+\n#### [^\s]+"
_SEPARATOR = "\n\n"  # between few-shot examples, and therefore the stop string
_TRIES = 1000


class Problem(NamedTuple):
    """A prompt and its reference.

    Attributes:
      prompt: the prompt without few-shot examples.
      reference: the solution without annotations, a line break and `#### N`.
      group: the number of numbers in the question.
      question: the question without the template.
    """

    prompt: str
    reference: str
    group: str
    question: str


def make_problem(row: Row) -> Problem:
    """Converts a row of the data set to a prompt and a reference."""
    question = row.question.strip()
    solution, number = _ANNOTATION.sub("", row.answer).split(MARK)
    return Problem(
        prompt=f"Question: {question}\nAnswer:",
        reference=f"{solution.strip()}\n{MARK}{number.strip()}",
        group=count_group(question),
        question=question,
    )


def count_group(question: str) -> str:
    """The group of a question: the number of numbers in digits. Group names sort by this count.

    >>> count_group("Of 90 runners, 1/6 give up. How many finish?")
    '3 numbers'
    """
    count = len(NUMBERS.findall(question))
    if count >= MOST_NUMBERS:
        return f"{MOST_NUMBERS}+ numbers"
    return "1 number" if count == 1 else f"{count} numbers"


class Gsm8kAnswerKey:
    """The references of one split; see `AnswerKey`."""

    def __init__(self, references: Sequence[str]) -> None:
        """Takes one reference per prompt, in order of prompt id."""
        self._references = tuple(references)

    def grade(self, prompt_ids: Sequence[int], responses: Sequence[str]) -> np.ndarray:
        """Whether each response's final answer equals the reference's: bool [len(responses)]."""
        pairs = zip(prompt_ids, responses, strict=True)
        return np.array([is_correct(text, self._reference(i)) for i, text in pairs], bool)

    def correct_response(self, prompt_id: int, rng: np.random.Generator | None = None) -> str:
        """The reference as a response. `rng` is unused because each prompt has one reference."""
        del rng
        return " " + self._reference(prompt_id)

    def wrong_response(self, prompt_id: int, rng: np.random.Generator) -> str:
        """Another prompt's reference or this one with a wrong result, with equal probability.

        Raises:
          RuntimeError: every draw was correct, which means that `is_correct` is broken.
        """
        reference = self._reference(prompt_id)
        for _ in range(_TRIES):
            if len(self._references) > 1 and rng.random() < 0.5:
                other = (prompt_id + rng.integers(1, len(self._references))) % len(self._references)
                text = " " + self._references[other]
            else:
                text = " " + slip(reference, rng)
            if not is_correct(text, reference):
                return text
        raise RuntimeError(f"no wrong response to prompt {prompt_id} in {_TRIES} tries")

    def _reference(self, prompt_id: int) -> str:
        if not 0 <= prompt_id < len(self._references):
            raise IndexError(f"prompt {prompt_id} of {len(self._references)}")
        return self._references[prompt_id]


class Gsm8kTask(Task):
    """The GSM8K task; see `Task`. Its public attributes and repr contain no references."""

    name = "gsm8k"
    response_prefix = " "
    stop_strings: tuple[str, ...] = ()

    def __init__(self, rows: Mapping[str, Sequence[Row]], data: DataConfig) -> None:
        """Splits the data set's "train" and "test" rows and selects the prompts.

        Args:
          rows: the rows by source split, in any order. No question occurs twice.
          data: the number of prompts and the few-shot examples. The split that is not evaluated
            may have fewer than `eval_prompts` problems; otherwise, the 473 validation problems
            would limit the test split.

        Raises:
          BoostError: a split has too few problems, or `data.few_shot` cannot be used.
        """
        self.few_shot = load_few_shot(data.few_shot, _EXAMPLE, _SEPARATOR)
        self.stop_strings = (_SEPARATOR,) if self.few_shot else ()
        parts = self.__split(rows)
        need_prompts(data, {split: len(problems) for split, problems in parts.items()}, self.name)
        chosen = {
            "train": parts["train"][: data.train_prompts],
            "validation": parts["validation"][: data.eval_prompts],
            "test": parts["test"][: data.eval_prompts],
        }
        self.prompts = {
            split: Prompts(
                tuple(self.few_shot + p.prompt for p in kept),
                tuple(p.group for p in kept),
                tuple(p.question for p in kept),
            )
            for split, kept in chosen.items()
        }
        self.__references = {s: [self.__solved(p) for p in kept] for s, kept in chosen.items()}
        self.__seed_problems = parts["train"][data.train_prompts :]

    def __split(self, rows: Mapping[str, Sequence[Row]]) -> dict[str, list[Problem]]:
        """The problems by split. Training problems that overlap the test set become validation."""
        problems = {split: _ordered(rows[split]) for split in ("train", "test")}
        share, whole = TRAINING_SHARE
        cut = len(problems["train"]) * share // whole
        questions = {split: [p.question for p in found] for split, found in problems.items()}
        clean = uncontaminated(questions["train"], questions["test"])
        ours = [p for p, is_clean in zip(problems["train"], clean, strict=True) if is_clean]
        dirty = [p for p, is_clean in zip(problems["train"], clean, strict=True) if not is_clean]
        if dirty:
            self.notes = (
                f"gsm8k: {len(dirty)} training problems overlap the test set; they are in the "
                "validation split and never trained on",
            )
        return {
            "train": ours[:cut],
            "validation": ours[cut:] + dirty,
            "test": problems["test"],
        }

    def __solved(self, problem: Problem) -> str:
        if not self.few_shot:
            return problem.reference
        return without_blank_lines(problem.reference)

    def response_of(self, text: str, prompt: str) -> str:
        """What someone wrote, as a solution that ends with "#### N"; see `solution_of`."""
        return self.response_prefix + solution_of(
            text, prompt.removeprefix(self.few_shot), self.few_shot
        )

    def __repr__(self) -> str:
        counts = ", ".join(f"{split}={len(p.texts)}" for split, p in self.prompts.items())
        return f"Gsm8kTask({counts}, seed={len(self.__seed_problems)})"

    def answer_key(self, split: str) -> Gsm8kAnswerKey:
        """The answer key of one of SPLITS; see `Task`."""
        return Gsm8kAnswerKey(self.__references[split])

    def seed_examples(self, seed: int) -> list[tuple[str, str]]:
        """Training problems that are not prompts, with references. `seed` sets only their order.

        The seed model is therefore never trained on the reference of a training prompt.

        Raises:
          BoostError: every training problem is a prompt.
        """
        if not self.__seed_problems:
            raise BoostError(
                f"all {len(self.prompts['train'].texts)} training problems of gsm8k are prompts, "
                "so none are left to train the seed model: lower data.train_prompts"
            )
        pairs = self.__seed_pairs()
        return [pairs[i] for i in np.random.default_rng(seed).permutation(len(pairs))]

    def tokenizer_texts(self) -> list[str]:
        """Few-shot examples (once), seed examples and training prompts, without references."""
        texts = [text for pair in self.__seed_pairs() for text in pair]
        texts += self.prompts["train"].texts
        once = [self.few_shot] * bool(self.few_shot)
        return once + [text.removeprefix(self.few_shot) for text in texts]

    def __seed_pairs(self) -> list[tuple[str, str]]:
        return [(self.few_shot + p.prompt, " " + self.__solved(p)) for p in self.__seed_problems]


def load_gsm8k(data: DataConfig) -> Gsm8kTask:
    """Loads the task from `data.path`, or downloads it if the path is empty.

    Raises:
      BoostError: see `load_gsm8k_rows` and `Gsm8kTask`.
    """
    return Gsm8kTask(load_gsm8k_rows(data.path), data)


def _ordered(rows: Sequence[Row]) -> list[Problem]:
    """The problems in an order that depends only on their questions."""

    def key(row: Row) -> bytes:
        return hashlib.sha256(f"{_ORDER_SEED}\n{row.question.strip()}".encode()).digest()

    return [make_problem(row) for row in sorted(rows, key=key)]
