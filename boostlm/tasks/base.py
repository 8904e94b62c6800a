"""The task interface: public prompts and a private answer key.

A new task is a subclass of `Task`. Only the verifier (which calls `grade`) and the simulated
labeler (which requests correct and wrong responses) receive the answer key. Sampling, curation,
training and reporting never hold one.
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from boostlm.config import DataConfig
from boostlm.engine.outside_text import unwrapped, without_blank_lines
from boostlm.errors import BoostError


@dataclass(frozen=True)
class Prompts:
    """The prompts of one split; a prompt's id is its index.

    Attributes:
      texts: N prompts exactly as the model sees them, few-shot examples included.
      groups: N names, one per prompt. Reports group by them (a skill, a number of steps).
      problems: N problem texts without the template that all prompts share. The contamination
        check compares them. If empty, it compares the prompts without few-shot examples.
    """

    texts: tuple[str, ...]
    groups: tuple[str, ...]
    problems: tuple[str, ...] = ()


class AnswerKey(Protocol):
    """The references of one split. Only verifiers and labelers hold one."""

    def grade(self, prompt_ids: Sequence[int], responses: Sequence[str]) -> np.ndarray:
        """The quality q(x, y): bool [len(responses)], True where correct."""
        ...

    def correct_response(self, prompt_id: int, rng: np.random.Generator) -> str:
        """A correct response, used as a label."""
        ...

    def wrong_response(self, prompt_id: int, rng: np.random.Generator) -> str:
        """A plausible but incorrect response."""
        ...


class Task(ABC):
    """Prompts, references and a verifier. A subclass is constructed from a `DataConfig`.

    Attributes:
      name: the task's name.
      prompts: the prompts of each of SPLITS. The splits are disjoint.
      stop_strings: strings that end a response, in addition to EOS. The response excludes them.
      few_shot: the few-shot examples that every prompt starts with; "" for none.
      response_prefix: the prefix of every response, such as the space after "Answer:".
      notes: notes about the data, printed when a run starts.
    """

    name: str
    prompts: Mapping[str, Prompts]
    stop_strings: tuple[str, ...] = ()
    few_shot: str = ""
    response_prefix: str = ""
    notes: tuple[str, ...] = ()

    @abstractmethod
    def answer_key(self, split: str) -> AnswerKey:
        """The answer key of a split, for its verifier and its labeler."""

    def response_of(self, text: str, prompt: str) -> str:
        """Brings what a person or another model wrote for a prompt into the form of a response.

        Labels from outside are judged and trained on in this form. The model's own responses never
        pass through here. Thoughts, special tokens and a repeated prompt are removed. The text is
        cut at a stop string, except that blank lines which would end the response are removed.
        """
        text = unwrapped(text, (prompt, prompt.removeprefix(self.few_shot)))
        for stop in self.stop_strings:
            if stop.count("\n") > 1 and stop.isspace():
                text = without_blank_lines(text)
            else:
                text = text.partition(stop)[0]
        return self.response_prefix + text.strip()

    def seed_examples(self, seed: int) -> list[tuple[str, str]]:
        """(prompt, response) pairs for training a seed model. No split contains their prompts.

        Raises:
          BoostError: the task has no seed examples and requires a pretrained model.
        """
        del seed
        raise BoostError(
            f"task {self.name} has no examples to train a seed model on: start from a pretrained "
            "model with --seed_model.path FOLDER"
        )

    def tokenizer_texts(self) -> Sequence[str]:
        """Training texts for the tokenizer. None come from validation or test."""
        return self.prompts["train"].texts


def texts_of_task(task: Task) -> list[str]:
    """Every text whose tokens a model of this task needs, references apart."""
    prompts = [text for split in task.prompts.values() for text in split.texts]
    parts = (task.few_shot, task.response_prefix, *task.stop_strings)
    return [*dict.fromkeys((*prompts, *task.tokenizer_texts(), *parts))]


def need_prompts(data: DataConfig, sizes: Mapping[str, int], name: str) -> None:
    """Checks that a data set has enough prompts for a config.

    Args:
      data: the config. `eval_prompts` is checked for the evaluated split only.
      sizes: the number of problems in each of SPLITS.
      name: the task's name.

    Raises:
      BoostError: a split has too few problems.
    """
    for split, setting in (("train", "train_prompts"), (data.eval_split, "eval_prompts")):
        count = getattr(data, setting)
        if count > sizes[split]:
            raise BoostError(
                f"data.{setting} is {count}, and the {split} split of {name} has {sizes[split]} "
                f"problems: lower data.{setting}"
            )


def describe_task(task: Task) -> dict[str, Any]:
    """A task as JSON: the full few-shot examples, and the number and a hash of its prompts."""
    described: dict[str, Any] = {
        "name": task.name,
        "few_shot": task.few_shot,
        "notes": list(task.notes),
    }
    for split, prompts in task.prompts.items():
        digest = hashlib.sha256("\0".join((*prompts.texts, *prompts.groups)).encode()).hexdigest()
        described[f"{split} prompts"] = {"number": len(prompts.texts), "sha256": digest}
    return described
