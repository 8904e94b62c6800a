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
  >>> bool(trace.accuracy[0] < trace.accuracy[1] < trace.accuracy[2]), int(trace.labels[0])
  (True, 0)
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from boostlm.curation.arms import Arm, ArmSwitches
from boostlm.curation.diversity import distinct_fraction
from boostlm.curation.mixture import Mixture, noisy_verdict
from boostlm.curation.round import (
    Curation,
    LabelRequest,
    Labels,
    RoundFns,
    RoundState,
    curation_round,
    initial_state,
)
from boostlm.prng import row_keys


class World(NamedTuple):
    """Rates of the labeler and the filter.

    Attributes:
      beta: fraction of labels that are right; one number, or one for each prompt [N].
      miss_rate: the filter's miss rate.
      false_accept_rate: the filter's false-accept rate.
      filter_labels: keep only labels that the filter accepts.
    """

    beta: float | Array
    miss_rate: float | Array = 0.0
    false_accept_rate: float | Array = 0.0
    filter_labels: bool | Array = False


class Trace(NamedTuple):
    """An ideal learner's rounds, each float32 or int32 [rounds + 1].

    Attributes:
      accuracy: mean over prompts of the chance to be right.
      distinct: mean diversity of the k samples.
      labels: bought so far.
    """

    accuracy: Array
    distinct: Array
    labels: Array


class FirstSamples(NamedTuple):
    """What a model that was sampled gave before the first round.

    Attributes:
      correct_NxK: bool, the exact verdicts.
      accepted_NxK: bool, the filter's.
    """

    correct_NxK: Array
    accepted_NxK: Array


def initial_table(p_N: np.ndarray | Array, wrong_answers: int = 16) -> Array:
    """Chance p_N of the right answer, the rest spread evenly over wrong ones: float32 [N, A]."""
    right_Nx1 = jnp.asarray(p_N, jnp.float32)[:, None]
    wrong_NxW = jnp.tile((1 - right_Nx1) / wrong_answers, (1, wrong_answers))
    return jnp.concatenate([right_Nx1, wrong_NxW], axis=1)


@functools.partial(jax.jit, static_argnames="k")
def sample_table(key: Array, table_NxA: Array, k: int) -> Array:
    """K answers to each prompt, int32 [N, K]."""
    keys_NxK = row_keys(key, jnp.arange(table_NxA.shape[0]), k)
    uniform_NxK = jax.vmap(jax.vmap(jax.random.uniform))(keys_NxK)
    below_NxKxA = uniform_NxK[:, :, None] >= jnp.cumsum(table_NxA, axis=1)[:, None, :]
    # Rounding may leave the last sum below 1; then the last answer with mass is drawn.
    last_Nx1 = table_NxA.shape[1] - 1 - jnp.argmax(table_NxA[:, ::-1] > 0, axis=1)[:, None]
    return jnp.minimum(jnp.sum(below_NxKxA, axis=2, dtype=jnp.int32), last_Nx1)


@jax.jit
def label_table(key: Array, request: LabelRequest, table_NxA: Array, world: World) -> Labels:
    """Labels that are right at rate beta; examples are (prompt_L, answer_L)."""
    right_key, wrong_key, filter_key = jax.random.split(key, 3)
    L, (N, A) = request.valid_L.shape, table_NxA.shape
    beta_L = jnp.broadcast_to(jnp.asarray(world.beta), (N,))[request.prompt_id_L]
    right_L = jax.random.uniform(right_key, L) < beta_L
    answer_L = jnp.where(right_L, 0, jax.random.randint(wrong_key, L, 1, A))
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
    key: Array,
    table_NxA: Array,
    arm: Arm,
    curation: Curation,
    world: World,
    rounds: int,
    k: int,
    first: FirstSamples | None = None,
) -> Trace:
    """Runs the ideal learner. Can be vmapped over everything but `arm`, `rounds` and `k`.

    Args:
      key: the key of all draws.
      table_NxA: the seed model, see `initial_table`.
      arm: the way of curating.
      curation: settings.
      world: the labeler's and the filter's rates.
      rounds: rounds of training.
      k: samples for each prompt in each round.
      first: samples of round 0 that are known; None: they are drawn.
    """
    places = int(curation.budget) if curation.places is None else curation.places
    start = initial_state(table_NxA, table_NxA.shape[0])
    settings = arm.switches(), curation._replace(places=None), world, first
    # The trace is taken before each round, so the last round is there to be measured only.
    rounds += 1
    return advance(key, start, jnp.int32(0), *settings, places=places, rounds=rounds, k=k)[1]


@functools.partial(jax.jit, static_argnames=("places", "rounds", "k"))
def advance(
    key: Array,
    state: RoundState,
    done: Array,
    arm: ArmSwitches,
    curation: Curation,
    world: World,
    first: FirstSamples | None,
    *,
    places: int | None,
    rounds: int,
    k: int,
) -> tuple[RoundState, Trace]:
    """Some more rounds of an ideal learner: the state after them, and the trace before each.

    Args:
      key: the key of all draws, the same for all rounds of a learner.
      state: the state to start from, with a table as its learner.
      done: int32 scalar, rounds so far.
      arm: the way of curating.
      curation: settings.
      world: the labeler's and the filter's rates.
      first: as in `simulate`.
      places: L.
      rounds: how many rounds to run.
      k: samples for each prompt in each round.
    """
    curation = curation._replace(places=places)

    def sample(table_NxA: Array, r: Array) -> tuple[Array, Array]:
        answer_NxK = sample_table(_key(key, 0, r), table_NxA, k)
        accepted_NxK = noisy_verdict(
            _key(key, 1, r), answer_NxK == 0, world.miss_rate, world.false_accept_rate
        )
        if first is not None:
            wrong_NxK = jnp.maximum(answer_NxK, 1)
            known_NxK = jnp.where(first.correct_NxK, 0, wrong_NxK)
            answer_NxK = jnp.where(r == 0, known_NxK, answer_NxK)
            accepted_NxK = jnp.where(r == 0, first.accepted_NxK, accepted_NxK)
        return answer_NxK, accepted_NxK

    def one_round(state: RoundState, r: Array) -> tuple[RoundState, Trace]:
        table_NxA = state.learner
        answer_NxK, accepted_NxK = sample(table_NxA, r)
        fns = RoundFns(
            sample=lambda table, r: (answer_NxK, accepted_NxK),
            judge=lambda responses, r: responses[1],
            label=lambda request, r: label_table(_key(key, 2, r), request, table_NxA, world),
            train=lambda table, responses, labels, mixture, r: train_table(
                table, responses[0], labels, mixture
            ),
        )
        after = curation_round(state, fns, arm, curation, _key(key, 3, r), r)
        distinct = jnp.mean(distinct_fraction(answer_NxK[..., None]))
        return after, Trace(jnp.mean(table_NxA[:, 0]), distinct, jnp.asarray(state.labels_spent))

    return jax.lax.scan(one_round, state, done + jnp.arange(rounds))


def _key(key: Array, stage: int, r: Array) -> Array:
    return jax.random.fold_in(jax.random.fold_in(key, stage), r)
