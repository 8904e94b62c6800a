"""The theory's curve for a run: an ideal learner that starts where the run's seed model stood."""

import jax
import numpy as np

from boostlm.config import Config
from boostlm.curation.arms import ARMS
from boostlm.curation.difficulty import theta_from_beta
from boostlm.curation.ideal_learner import World, initial_table, simulate
from boostlm.curation.round import Curation


def predict(config: Config, correct_NxK: np.ndarray) -> dict[str, list[float]]:
    """Train accuracy by arm and round, as an ideal learner without generalisation would have it.

    Args:
      config: of the run.
      correct_NxK: bool, verdicts on the seed model's samples; their mean by prompt is its p.
    """
    table_NxA = initial_table(correct_NxK.mean(axis=1))
    curation = Curation(theta_from_beta(config.label.beta), config.label.budget, config.train.alpha)
    world = World(
        config.label.beta,
        config.filter.miss_rate,
        config.filter.false_accept_rate,
        config.label.filter_labels,
    )
    key = jax.random.key(0)
    return {
        arm: simulate(
            key, table_NxA, ARMS[arm], curation, world, config.rounds, config.sample.k
        ).accuracy
        for arm in config.arms
    }
