"""Labelers from references: right with probability beta, else plausibly wrong; or always right."""

from collections.abc import Sequence

import numpy as np

from boostlm.config import LabelConfig
from boostlm.labelers.base import Label, Labeler, Query, in_batches
from boostlm.prng import Purpose
from boostlm.tasks.base import AnswerKey

_AT_ONCE = 1024  # labels per batch: generated, graded and committed together


def reference_labeler(config: LabelConfig, key: AnswerKey) -> Labeler:
    """A labeler whose labels are all right, for arms that show what right labels would do."""

    def label(queries: Sequence[Query]) -> list[Label]:
        return [
            Label(key.correct_response(query.prompt, _rng(query)), "reference", config.cost)
            for query in queries
        ]

    return in_batches(label, _AT_ONCE)


def simulated_labeler(config: LabelConfig, key: AnswerKey) -> Labeler:
    """A labeler that seeds each label with (seed, round, prompt, sample), so repeats differ."""

    def label_one(query: Query) -> Label:
        rng = _rng(query)
        right = rng.random() < config.beta
        text = (
            key.correct_response(query.prompt, rng)
            if right
            else key.wrong_response(query.prompt, rng)
        )
        return Label(text, "simulated", config.cost)

    def label(queries: Sequence[Query]) -> list[Label]:
        return [label_one(query) for query in queries]

    return in_batches(label, _AT_ONCE)


def _rng(query: Query) -> np.random.Generator:
    earlier = query.round - 1  # keys count completed rounds
    return np.random.default_rng(
        [query.seed, int(Purpose.LABEL), earlier, query.prompt, query.sample]
    )
