"""A beta-weak labeler from references: correct with probability beta, else plausibly wrong."""

from collections.abc import Sequence

import numpy as np

from boostlm.config import LabelConfig
from boostlm.labelers.base import Label, Labeler, Query, in_batches
from boostlm.prng import Purpose
from boostlm.tasks.base import AnswerKey

_AT_ONCE = 1024  # labels per batch: generated, graded and committed together


def simulated_labeler(config: LabelConfig, key: AnswerKey) -> Labeler:
    """A labeler that seeds each label with (seed, round, prompt, sample), so repeats differ."""

    def label_one(query: Query) -> Label:
        earlier = query.round - 1  # keys count completed rounds
        path = [query.seed, int(Purpose.LABEL), earlier, query.prompt, query.sample]
        rng = np.random.default_rng(path)
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
