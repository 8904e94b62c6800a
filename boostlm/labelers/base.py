"""What a labeler is: an outside source of responses, mostly wrong ones will do."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Query:
    """A request for one label.

    Attributes:
      seed: repeat of the experiment.
      round: the round of training it is for, from 1.
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
      finished: False if a limit on length cut it off; such a label is paid for and never kept.
    """

    text: str
    source: str
    cost: float
    finished: bool = True


# Takes every label that a round still wants, and gives them in batches, in any order, as they come.
# A batch is committed before the next is asked for: whatever a labeler raises, and whenever the
# run is killed, what it gave before is kept. A label must depend on its query alone, not on the
# other queries, so that a run which goes on gets the labels that it would have got.
Labeler = Callable[[Sequence[Query]], Iterator[Sequence[tuple[Query, Label]]]]


def in_batches(label: Callable[[Sequence[Query]], Sequence[Label]], size: int) -> Labeler:
    """A labeler from a function: a batch of queries in, their labels out, in order.

    Args:
      label: the function.
      size: queries that it takes at once, which is also how many labels a kill can lose.
    """

    def labeler(queries: Sequence[Query]) -> Iterator[list[tuple[Query, Label]]]:
        for start in range(0, len(queries), size):
            batch = queries[start : start + size]
            yield list(zip(batch, label(batch), strict=True))

    return labeler


def in_form(labeler: Labeler, form: Callable[[str], str]) -> Labeler:
    """The labeler with `form` applied to its texts."""

    def formed(queries: Sequence[Query]) -> Iterator[list[tuple[Query, Label]]]:
        for batch in labeler(queries):
            yield [(query, replace(label, text=form(label.text))) for query, label in batch]

    return formed
