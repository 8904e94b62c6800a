"""What a labeler is: an outside source of responses, mostly wrong ones will do."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Query:
    """A request for one label.

    Attributes:
      seed: repeat of the experiment.
      round: 0-based.
      prompt: id of a training prompt.
      sample: 0, 1, ... for repeated labels of one prompt in one round.
      text: the prompt as the model sees it.
    """

    seed: int
    round: int
    prompt: int
    sample: int
    text: str


@dataclass(frozen=True)
class Label:
    """A response from outside.

    Attributes:
      text: the response.
      source: who gave it.
      cost: what it cost, in the config's unit.
    """

    text: str
    source: str
    cost: float


# Batch in, batch out, in order. A label must depend on its query alone, not on its batch.
Labeler = Callable[[Sequence[Query]], Sequence[Label]]
