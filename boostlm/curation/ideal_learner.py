"""Monte Carlo of the ideal learner, curated by the same code that curates a language model.

The learner is a table of answer probabilities, one row for each prompt. Training replaces a row by
the mixture's distribution of answers to that prompt; a prompt that is not in the mixture keeps its
row. Nothing that it learns about one prompt helps with another. Suffixes: N prompts, K samples,
L labels, A answers; answer 0 is right and all others are wrong.

Example:
  >>> from boostlm import ARMS, Curation, ideal_learner
  >>> table_NxA = ideal_learner.initial_table(np.full(1000, 0.3))
  >>> curation = Curation(theta=0.0, budget=1000, alpha=0.5)
  >>> world = ideal_learner.World(beta=0.2, filter_labels=True)
  >>> trace = ideal_learner.simulate(
  ...     jax.random.key(0), table_NxA, ARMS["boosting"], curation, world, rounds=2, k=4
  ... )
  >>> trace.accuracy[0] < trace.accuracy[1] < trace.accuracy[2], trace.labels[0]
  (True, 0)
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from boostlm.curation.diversity import distinct_fraction
from boostlm.curation.mixture import Mixture, noisy_verdict
from boostlm.curation.round import (
    Arm,
    Curation,
    LabelRequest,
    Labels,
    RoundFns,
    curation_round,
    initial_state,
)
from boostlm.prng import row_keys


class World(NamedTuple):
    """Rates of the labeler and the filter.

    Attributes:
      beta: fraction of labels that are right.
      miss_rate: of the filter.
      false_accept_rate: of the filter.
      filter_labels: keep only labels that the filter accepts.
    """

    beta: float
    miss_rate: float = 0.0
    false_accept_rate: float = 0.0
    filter_labels: bool = False


class Trace(NamedTuple):
    """An ideal learner's rounds, each a list of rounds + 1 numbers.

    Attributes:
      accuracy: mean over prompts of the chance to be right.
      distinct: mean diversity of the k samples.
      labels: bought so far.
    """

    accuracy: list[float]
    distinct: list[float]
    labels: list[int]


def initial_table(p_N: np.ndarray, wrong_answers: int = 16) -> Array:
    """Chance p_N of the right answer, the rest spread evenly over wrong ones: float32 [N, A]."""
    right_Nx1 = jnp.asarray(p_N, jnp.float32)[:, None]
    wrong_NxW = jnp.tile((1 - right_Nx1) / wrong_answers, (1, wrong_answers))
    return jnp.concatenate([right_Nx1, wrong_NxW], axis=1)


@functools.partial(jax.jit, static_argnames="k")
def sample_table(key: Array, table_NxA: Array, k: int) -> Array:
    """K answers to each prompt, int32 [N, K]."""
    keys_NxK = row_keys(key, jnp.arange(table_NxA.shape[0]), k)
    draw = jax.vmap(jax.vmap(jax.random.categorical, (0, None)))
    return draw(keys_NxK, jnp.log(table_NxA))


@jax.jit
def label_table(key: Array, request: LabelRequest, answers: Array, world: World) -> Labels:
    """Labels that are right at rate beta; examples are (prompt_L, answer_L)."""
    right_key, wrong_key, filter_key = jax.random.split(key, 3)
    L = request.valid_L.shape
    right_L = jax.random.uniform(right_key, L) < world.beta
    answer_L = jnp.where(right_L, 0, jax.random.randint(wrong_key, L, 1, answers))
    accepted_L = noisy_verdict(filter_key, right_L, world.miss_rate, world.false_accept_rate)
    kept_L = request.valid_L & (accepted_L | ~jnp.asarray(world.filter_labels))
    return Labels((request.prompt_id_L, answer_L), kept_L)


@jax.jit
def train_table(table_NxA: Array, answer_NxK: Array, labels: Labels, mixture: Mixture) -> Array:
    """Replaces the rows of prompts in the mixture by its distribution over answers."""
    prompt_NxK = jnp.broadcast_to(jnp.arange(answer_NxK.shape[0])[:, None], answer_NxK.shape)
    mass_NxA = jnp.zeros_like(table_NxA).at[prompt_NxK, answer_NxK].add(mixture.synthetic_NxK)
    if labels.examples is not None:
        mass_NxA = mass_NxA.at[labels.examples].add(mixture.weak_L)
    total_Nx1 = jnp.sum(mass_NxA, axis=1, keepdims=True)
    return jnp.where(total_Nx1 > 0, mass_NxA / jnp.where(total_Nx1 > 0, total_Nx1, 1.0), table_NxA)


def simulate(
    key: Array, table_NxA: Array, arm: Arm, curation: Curation, world: World, rounds: int, k: int
) -> Trace:
    """Runs the ideal learner.

    Args:
      key: for all draws.
      table_NxA: the seed model, see `initial_table`.
      arm: the way of curating.
      curation: settings.
      world: the labeler's and the filter's rates.
      rounds: rounds of training.
      k: samples for each prompt in each round.
    """

    def at(stage: int, round_: int) -> Array:
        return jax.random.fold_in(jax.random.fold_in(key, stage), round_)

    def judge(answer_NxK: Array, round_: int) -> Array:
        return noisy_verdict(
            at(1, round_), answer_NxK == 0, world.miss_rate, world.false_accept_rate
        )

    fns = RoundFns(
        sample=lambda table, r: sample_table(at(0, r), table, k),
        judge=judge,
        label=lambda request, r: label_table(at(2, r), request, table_NxA.shape[1], world),
        train=lambda table, answers, labels, mixture, r: train_table(
            table, answers, labels, mixture
        ),
    )
    state = initial_state(table_NxA, table_NxA.shape[0])
    trace = Trace([], [], [])
    for round_ in range(rounds + 1):
        answers = fns.sample(state.learner, round_)
        trace.accuracy.append(float(jnp.mean(state.learner[:, 0])))
        trace.distinct.append(float(jnp.mean(distinct_fraction(answers[..., None]))))
        trace.labels.append(state.labels_spent)
        if round_ < rounds:
            state = curation_round(state, fns, arm, curation, at(3, round_), round_)
    return trace
