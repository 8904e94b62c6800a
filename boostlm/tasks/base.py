"""What a task is: prompts that anyone may see, and an answer key that only two parties may.

A new task is one class with the members of `Task`. The answer key goes to the verifier (which
asks it to `grade`) and to the simulated labeler (which asks for right and wrong answers), and to
nobody else: sampling, curation, training and reporting never hold one.
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from boostlm.config import DataConfig
from boostlm.errors import BoostError


@dataclass(frozen=True)
class Prompts:
    """The prompts of one split; a prompt's id is its index.

    Attributes:
      texts: N prompts, each exactly what the model is shown, few-shot examples included.
      groups: N names, one a prompt, that reports group by (a skill, a number of steps).
      problems: N texts that say what is asked and nothing that prompts share, for telling whether
        two prompts overlap; empty: the prompts themselves, without few-shot examples.
    """

    texts: tuple[str, ...]
    groups: tuple[str, ...]
    problems: tuple[str, ...] = ()


class AnswerKey(Protocol):
    """The references of one split. Held by verifiers and labelers only."""

    def grade(self, prompt_ids: Sequence[int], responses: Sequence[str]) -> np.ndarray:
        """The quality q(x, y): bool [len(responses)], True where correct."""
        ...

    def correct_response(self, prompt_id: int, rng: np.random.Generator) -> str:
        """A correct response, as a label."""
        ...

    def wrong_response(self, prompt_id: int, rng: np.random.Generator) -> str:
        """An incorrect response that someone could plausibly have given."""
        ...


class Task(ABC):
    """Prompts, references and a verifier: a subclass is made from a `DataConfig`.

    Attributes:
      name: of the task.
      prompts: by SPLITS, pairwise disjoint.
      stop_strings: texts that end a response, besides EOS; they are not part of it.
      few_shot: what every prompt starts with; "" for nothing.
      response_prefix: what every response starts with, such as the space after "Answer:".
      notes: lines about the data that whoever starts a run should know.
    """

    name: str
    prompts: Mapping[str, Prompts]
    stop_strings: tuple[str, ...] = ()
    few_shot: str = ""
    response_prefix: str = ""
    notes: tuple[str, ...] = ()

    @abstractmethod
    def answer_key(self, split: str) -> AnswerKey:
        """The references of a split, for its verifier and its labeler."""

    def response_of(self, text: str) -> str:
        """What somebody wrote who knows the prompt and not the form of responses, as a response."""
        text = text[
            : min((text.find(stop) for stop in self.stop_strings if stop in text), default=None)
        ]
        return self.response_prefix + text.strip()

    def seed_examples(self, seed: int) -> list[tuple[str, str]]:
        """(prompt, response) pairs that a seed model is trained on; prompts of no split.

        Raises:
          BoostError: there are none, as in a task that only pretrained models are meant for.
        """
        del seed
        raise BoostError(
            f"task {self.name} has no examples to train a seed model on: start from a pretrained "
            "model with --seed_model.path FOLDER"
        )

    def tokenizer_texts(self) -> Sequence[str]:
        """Texts that a tokenizer for this task is trained on; none from validation or test."""
        return self.prompts["train"].texts


def need_prompts(data: DataConfig, sizes: Mapping[str, int], name: str) -> None:
    """Makes sure that a data set has as many prompts as a config asks for.

    Args:
      data: what is asked for; `eval_prompts` of the evaluated split only.
      sizes: how many problems each of SPLITS has.
      name: of the task.
    """
    for split, setting in (("train", "train_prompts"), (data.eval_split, "eval_prompts")):
        count = getattr(data, setting)
        if count > sizes[split]:
            raise BoostError(
                f"data.{setting} is {count}, and the {split} split of {name} has {sizes[split]} "
                f"problems: lower data.{setting}"
            )


def describe_task(task: Task) -> dict[str, Any]:
    """A task as JSON: its few-shot examples in full, the number and a hash of its prompts."""
    described: dict[str, Any] = {
        "name": task.name,
        "few_shot": task.few_shot,
        "notes": list(task.notes),
    }
    for split, prompts in task.prompts.items():
        digest = hashlib.sha256("\0".join((*prompts.texts, *prompts.groups)).encode()).hexdigest()
        described[f"{split} prompts"] = {"number": len(prompts.texts), "sha256": digest}
    return described
