"""Arms that ask the same labeler the same question share its answer."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from boostlm.config import Config
from boostlm.labelers.base import Label, Labeler, Query
from boostlm.storage.ledger import Entry

# seed and round -> {(prompt, sample): what another arm bought}
Bought = Callable[[int, int], Mapping[tuple[int, int], Entry]]


def labeler_settings(config: Config) -> tuple[Any, ...]:
    """What decides a labeler's answers; arms in which it is equal share them."""
    label = replace(config.label, budget=0, filter_labels=True)
    if label.labeler in ("simulated", "reference", "people", "endpoint"):
        return (label if label.labeler == "simulated" else replace(label, beta=0.5),)
    return replace(label, beta=0.5), config.sample  # a model that samples, or one of your own


def sharing(labeler: Labeler, bought: Bought) -> Labeler:
    """The labeler, which is asked only for what `bought` does not hold for the queries' round."""

    def labels(queries: Sequence[Query]) -> Iterator[Sequence[tuple[Query, Label]]]:
        known: dict[Query, Label] = {}
        for seed, round_ in dict.fromkeys((q.seed, q.round) for q in queries):
            found = bought(seed, round_)
            for query in queries:
                entry = found.get((query.prompt, query.sample))
                if entry is not None and (query.seed, query.round) == (seed, round_):
                    known[query] = Label(
                        entry.text, entry.source, entry.cost, entry.unanswered, entry.written
                    )
        if known:
            yield list(known.items())
        if missing := [query for query in queries if query not in known]:
            yield from labeler(missing)

    return labels
