"""Monte Carlo of the ideal learner, curated by the same code that curates a language model.

The learner is a table of answer probabilities, one row for each prompt. Training replaces a row by
the mixture's distribution of answers to that prompt; a prompt that is not in the mixture keeps its
row. Nothing that it learns about one prompt helps with another. Suffixes: N prompts, K samples,
L labels, A answers, R rounds; answer 0 is right and all others are wrong.

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

from boostlm.curation.arms import Arm
from boostlm.curation.diversity import distinct_fraction
from boostlm.curation.mixture import Mixture, noisy_verdict
from boostlm.curation.policies import ArmSwitches, switches_of
from boostlm.curation.round import (
    Curation,
    LabelRequest,
    Labels,
    RoundFns,
    RoundState,
    TrainingSet,
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
      kept: labels trained on so far.
    """

    accuracy: Array
    distinct: Array
    labels: Array
    kept: Array


class TableLearner(NamedTuple):
    """The ideal learner, and what an arm needs that looks back.

    Attributes:
      chance_NxA: float32, the chance of each answer.
      start_NxA: float32, the same of the seed model.
      own_NxA: int32, how often each answer was kept among the own responses of all rounds.
      weak_NxA: int32, how often among the labels.
    """

    chance_NxA: Array
    start_NxA: Array
    own_NxA: Array
    weak_NxA: Array


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


def table_state(table_NxA: Array) -> RoundState:
    """The state before the first round."""
    none_NxA = jnp.zeros(table_NxA.shape, jnp.int32)
    learner = TableLearner(table_NxA, table_NxA, none_NxA, none_NxA)
    return initial_state(learner, table_NxA.shape[0])


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
def recall_table(all_data: bool | Array, learner: TableLearner, now: TrainingSet) -> TrainingSet:
    """A training set as counts of answers, [N, A] of own responses and [N * A] of labels.

    Args:
      all_data: whether to add the counts of the rounds before.
      learner: that the round began with.
      now: this round's, with answer_NxK as responses and (prompt_L, answer_L) as labels' examples.
    """
    none_NxA = jnp.zeros_like(learner.own_NxA)
    prompt_NxK = jnp.broadcast_to(jnp.arange(len(none_NxA))[:, None], now.kept_NxM.shape)
    own_NxA = none_NxA.at[prompt_NxK, now.responses].add(now.kept_NxM)
    weak_NxA = none_NxA.at[now.labels.examples].add(now.labels.kept_L)
    own_NxA, weak_NxA = (
        new + jnp.where(all_data, old, 0)
        for new, old in ((own_NxA, learner.own_NxA), (weak_NxA, learner.weak_NxA))
    )
    labels = Labels(weak_NxA, weak_NxA.reshape(-1))
    prompt_id_L = jnp.repeat(jnp.arange(len(none_NxA)), none_NxA.shape[1])
    return TrainingSet(own_NxA, own_NxA, labels, prompt_id_L)


@jax.jit
def train_table(
    from_seed: bool | Array, learner: TableLearner, own_NxA: Array, labels: Labels, mixture: Mixture
) -> TableLearner:
    """Replaces the rows of prompts in the mixture by its distribution over answers."""
    begin_NxA = jnp.where(from_seed, learner.start_NxA, learner.chance_NxA)
    mass_NxA = mixture.synthetic_NxK + mixture.weak_L.reshape(begin_NxA.shape)
    total_Nx1 = jnp.sum(mass_NxA, axis=1, keepdims=True)
    learnt_NxA = mass_NxA / jnp.where(total_Nx1 > 0, total_Nx1, 1.0)
    return learner._replace(
        chance_NxA=jnp.where(total_Nx1 > 0, learnt_NxA, begin_NxA),
        own_NxA=own_NxA,
        weak_NxA=labels.examples,
    )


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
      curation: settings; its budget may be one number for each round.
      world: the labeler's and the filter's rates.
      rounds: rounds of training.
      k: samples for each prompt in each round.
      first: samples of round 0 that are known; None: they are drawn.
    """
    places = int(curation.budget) if curation.places is None else curation.places
    # The trace is taken before each round, so the last round is there to be measured only.
    budget_R = jnp.broadcast_to(jnp.asarray(curation.budget, jnp.int32), (rounds,))
    budget_R = jnp.append(budget_R, 0)
    settings = switches_of(arm), curation._replace(budget=budget_R, places=None), world, first
    return advance(key, table_state(table_NxA), jnp.int32(0), *settings, places=places, k=k)[1]


@functools.partial(jax.jit, static_argnames=("places", "k"))
def advance(
    key: Array,
    state: RoundState,
    done: Array,
    arm: ArmSwitches,
    curation: Curation,
    world: World,
    first: FirstSamples | None,
    *,
    places: int,
    k: int,
) -> tuple[RoundState, Trace]:
    """Some more rounds of an ideal learner: the state after them, and the trace before each.

    Args:
      key: for all draws, the same for all rounds of a learner.
      state: to start from, as `table_state` makes it.
      done: int32 scalar, rounds so far.
      arm: the way of curating.
      curation: settings; its budget is int32 [R], one for each of the rounds to come.
      world: the labeler's and the filter's rates.
      first: as in `simulate`.
      places: L.
      k: samples for each prompt in each round.
    """
    budget_R = jnp.asarray(curation.budget)

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

    def one_round(state: RoundState, now: tuple[Array, Array]) -> tuple[RoundState, Trace]:
        (r, budget), learner = now, state.learner
        answer_NxK, accepted_NxK = sample(learner.chance_NxA, r)
        fns = RoundFns(
            sample=lambda learner, r: answer_NxK,
            judge=lambda responses, r: accepted_NxK,
            label=lambda request, r: label_table(
                _key(key, 2, r), request, learner.chance_NxA, world
            ),
            train=lambda learner, own_NxA, labels, mixture, r: train_table(
                arm.from_seed, learner, own_NxA, labels, mixture
            ),
            recall=lambda examples, r: recall_table(arm.all_data, learner, examples),
        )
        settings = curation._replace(budget=budget, places=places)
        after = curation_round(state, fns, arm, settings, _key(key, 3, r), r)
        distinct = jnp.mean(distinct_fraction(answer_NxK[..., None]))
        accuracy = jnp.mean(learner.chance_NxA[:, 0])
        counts = map(jnp.asarray, (state.labels_spent, state.labels_kept))
        return after, Trace(accuracy, distinct, *counts)

    return jax.lax.scan(one_round, state, (done + jnp.arange(len(budget_R)), budget_R))


def _key(key: Array, stage: int, r: Array) -> Array:
    return jax.random.fold_in(jax.random.fold_in(key, stage), r)
