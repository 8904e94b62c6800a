"""What a task is: prompts that anyone may see, and an answer key that only two parties may.

A new task is one class with the members of `Task`. The answer key goes to the verifier (which
asks it to `check`) and to the simulated labeler (which asks for right and wrong answers), and to
nobody else: sampling, curation, training and reporting never hold one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Prompts:
    """The prompts of one split; a prompt's id is its index.

    Attributes:
      texts: N prompts, each exactly what the model is shown.
      bands: N names, one a prompt, that reports group by (a skill, a number of steps).
    """

    texts: tuple[str, ...]
    bands: tuple[str, ...]


class AnswerKey(Protocol):
    """The references of one split. Held by verifiers and labelers only."""

    def check(self, prompt_ids: Sequence[int], responses: Sequence[str]) -> np.ndarray:
        """The quality q(x, y): bool [len(responses)], True where correct."""
        ...

    def right(self, prompt_id: int, rng: np.random.Generator) -> str:
        """A correct response, as a label."""
        ...

    def wrong(self, prompt_id: int, rng: np.random.Generator) -> str:
        """An incorrect response that someone could plausibly have given."""
        ...


class Task(Protocol):
    """Prompts, references and a verifier."""

    name: str
    prompts: Mapping[str, Prompts]  # keys: SPLITS, pairwise disjoint
    stops: tuple[str, ...]  # texts that end a response besides EOS, and are cut off it

    def answer_key(self, split: str) -> AnswerKey:
        """The references of a split, for its verifier and its labeler."""
        ...

    def seed_examples(self, seed: int) -> list[tuple[str, str]]:
        """(prompt, response) pairs that the seed model is trained on; prompts of no split."""
        ...

    def tokenizer_texts(self) -> Sequence[str]:
        """Texts that a tokenizer for this task is trained on; none from validation or test."""
        ...
