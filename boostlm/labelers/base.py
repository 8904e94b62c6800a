"""The labeler interface: an outside source of responses, some of which are right."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

# Reasons for `Label.unanswered`. Details may follow after a colon; counts leave them out.
CUT_OFF = "cut off by the length limit"
NO_TEXT = "no text"


@dataclass(frozen=True)
class Query:
    """A request for one label.

    Attributes:
      seed: the repeat of the experiment.
      round: the training round that uses the label, from 1.
      prompt: the id of a training prompt.
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
    """A response from a labeler.

    Attributes:
      text: the response.
      source: the labeler's name.
      cost: the cost, in the config's unit.
      unanswered: why the response is missing or incomplete, such as `CUT_OFF`; "" if it is
        complete. An unanswered label is paid for, is never accepted, and is not asked for again.
      written: what the labeler wrote, if the task brought it into another form; else "".
    """

    text: str
    source: str
    cost: float
    unanswered: str = ""
    written: str = ""


# Takes all queries that a round still needs and yields the labels in batches, in any order. Each
# batch is committed before the next is requested. If the labeler raises or the run is killed, the
# earlier batches are kept. A label must depend only on its query, not on the other queries, so that
# a resumed run gets the same labels as an uninterrupted one.
Labeler = Callable[[Sequence[Query]], Iterator[Sequence[tuple[Query, Label]]]]


def in_batches(label: Callable[[Sequence[Query]], Sequence[Label]], size: int) -> Labeler:
    """Makes a labeler from a function of a batch of queries.

    Args:
      label: returns the labels of a batch of queries, in order.
      size: the batch size. A kill can lose at most this many labels.
    """

    def labeler(queries: Sequence[Query]) -> Iterator[list[tuple[Query, Label]]]:
        for start in range(0, len(queries), size):
            batch = queries[start : start + size]
            yield list(zip(batch, label(batch), strict=True))

    return labeler


def in_form(labeler: Labeler, form: Callable[[str, str], str]) -> Labeler:
    """The labeler with each answer's text replaced by `form(text, prompt)`; `written` keeps it.

    A label that then has no text is unanswered.
    """

    def formed(query: Query, label: Label) -> Label:
        text = label.text if label.unanswered else form(label.text, query.text)
        if label.unanswered or not text.strip():
            return replace(label, unanswered=label.unanswered or NO_TEXT)
        return replace(label, text=text, written=label.text if text != label.text else "")

    def labels(queries: Sequence[Query]) -> Iterator[list[tuple[Query, Label]]]:
        for batch in labeler(queries):
            yield [(query, formed(query, label)) for query, label in batch]

    return labels
