"""One round of curation, state -> state, for any learner, filter and labeler.

Everything that touches the host or a model is passed in as the callables of `RoundFns`; the rest is
jitted JAX on arrays over prompts. The same code drives a language model, the ideal learner's table
and the stubs of the tests.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from boostlm.curation.allocate import allocate
from boostlm.curation.arms import LABELS, Arm
from boostlm.curation.difficulty import initial_log_weights, reweight
from boostlm.curation.mixture import Mixture, failing, mix
from boostlm.curation.policies import ArmSwitches, by_difficulty, keep_own, share_of, switches_of
from boostlm.numerics import AnyArray, expand, prefix_sum

LearnerTree = Any  # a pytree: parameters and optimizer state, or a table, or whatever `train` makes
ResponseTree = Any  # a pytree of arrays with leading axes [N, K]


class RoundState(NamedTuple):
    """The state that a round takes and returns.

    Attributes:
      learner: the model.
      log_weight_N: float32, normalised log difficulty weights; -inf for padding.
      failures_N: int32, rounds that each prompt has failed.
      labels_spent: int32 scalar, labels bought so far.
      labels_kept: int32 scalar, labels trained on so far.

    Example:
      >>> state = boostlm.initial_state(learner={"w": jnp.zeros(2)}, prompts=4)
      >>> state.failures_N.tolist(), int(state.labels_spent)
      ([0, 0, 0, 0], 0)
    """

    learner: LearnerTree
    log_weight_N: Array
    failures_N: Array
    labels_spent: int | Array
    labels_kept: int | Array

    @property
    def valid_N(self) -> Array:
        """Bool, False for padding, which never fails, is never labeled or trained on."""
        return _valid(self.log_weight_N)


class LabelRequest(NamedTuple):
    """The labels to buy in a round. It has L = budget places, some of which may stay empty.

    Attributes:
      prompt_id_L: int32.
      sample_L: int32, 0, 1, ... for repeated labels of one prompt.
      valid_L: bool, False for empty places.

    Example:
      >>> request = boostlm.LabelRequest(
      ...     jnp.array([5, 5, 0]), jnp.array([0, 1, 0]), jnp.array([True, True, False])
      ... )
      >>> request.prompt_id_L[request.valid_L].tolist()  # two labels, both for prompt 5
      [5, 5]
    """

    prompt_id_L: Array
    sample_L: Array
    valid_L: Array


class Labels(NamedTuple):
    """A labeler's answer to a request.

    Attributes:
      examples: a pytree with leading axis [L], in the form that `train` takes.
      kept_L: bool, the labels to train on. Where labels are filtered, these are the accepted ones.

    Example:
      >>> def label(request, r):  # the labeler always answers 7; the filter accepts it
      ...     return boostlm.Labels(jnp.full_like(request.prompt_id_L, 7), request.valid_L)
      >>> prompt_id_L, sample_L = jnp.array([3, 0]), jnp.array([0, 0])
      >>> request = boostlm.LabelRequest(prompt_id_L, sample_L, jnp.array([True, False]))
      >>> label(request, 0).kept_L.tolist()
      [True, False]
    """

    examples: Any
    kept_L: AnyArray


class TrainingSet(NamedTuple):
    """The examples that a round may train on.

    Attributes:
      responses: own responses, with leading axes [N, M].
      kept_NxM: bool, those that the arm trains on; or int32, how often it does.
      labels: the labels, [L].
      prompt_id_L: int32, the labels' prompts.

    Example:
      >>> kept_NxM, prompt_id_L = jnp.array([[True, False]]), jnp.array([0])
      >>> labels = boostlm.Labels(examples=None, kept_L=jnp.array([True]))
      >>> boostlm.TrainingSet("responses", kept_NxM, labels, prompt_id_L).kept_NxM.shape
      (1, 2)
    """

    responses: ResponseTree
    kept_NxM: Array
    labels: Labels
    prompt_id_L: Array


class RoundFns(NamedTuple):
    """The functions that a round calls, each with the number r of rounds done: 0, 1, ...

    Attributes:
      sample: (learner, r) -> responses to every prompt.
      judge: (responses, r) -> accepted_NxK bool, the filter's verdicts.
      label: (request, r) -> labels. It is called only if the arm buys labels; then a request may
        still be empty, if no prompt fails.
      train: (learner, responses, labels, mixture, r) -> learner. `labels.examples` is None if the
        arm buys no labels. An arm that starts from the seed model ignores `learner`.
      recall: (training set of this round, r) -> that of all rounds so far. It is called only if the
        arm trains on the data of all rounds.

    Example:
      >>> fns = boostlm.RoundFns(
      ...     sample=lambda learner, r: jnp.zeros((3, 2), jnp.int32),
      ...     judge=lambda responses, r: jnp.array([[True, True], [False] * 2, [False] * 2]),
      ...     label=lambda request, r: boostlm.Labels(request.prompt_id_L, request.valid_L),
      ...     train=lambda learner, responses, labels, mixture, r: learner + int(mixture.weak),
      ... )
      >>> fns.judge(fns.sample(0, 0), 0).shape
      (3, 2)
    """

    sample: Callable[[LearnerTree, Any], ResponseTree]
    judge: Callable[[ResponseTree, Any], Array]
    label: Callable[[LabelRequest, Any], Labels]
    train: Callable[[LearnerTree, ResponseTree, Labels, Mixture, Any], LearnerTree]
    recall: Callable[[TrainingSet, Any], TrainingSet] | None = None


class Curation(NamedTuple):
    """Settings of a round.

    Attributes:
      theta: reweighting step, see `theta_from_beta`.
      budget: labels to buy each round.
      alpha: weight of the labels in the mixture.
      places: L, the length of requests; None: `budget`. Needed where `budget` is traced.

    Example:
      >>> boostlm.Curation(theta=boostlm.theta_from_beta(0.5), budget=100, alpha=1 / 3).budget
      100
    """

    theta: float | Array
    budget: int | Array
    alpha: float | Array
    places: int | None = None


def initial_state(learner: LearnerTree, prompts: int, places: int | None = None) -> RoundState:
    """The state before the first round: equal weights, no failures, no labels.

    Args:
      learner: the model.
      prompts: how many there are.
      places: N, at least `prompts`, to divide over devices; None: `prompts`. Padding comes last.

    Example:
      >>> state = boostlm.initial_state(learner=None, prompts=4)
      >>> jnp.exp(state.log_weight_N).tolist()
      [0.25, 0.25, 0.25, 0.25]
      >>> boostlm.initial_state(learner=None, prompts=3, places=4).valid_N.tolist()
      [True, True, True, False]
    """
    log_weight_N, zero = initial_log_weights(prompts, places), jnp.int32(0)
    zeros_N = jnp.zeros(log_weight_N.shape, jnp.int32)
    return RoundState(learner, log_weight_N, zeros_N, zero, zero)


def _valid(log_weight_N: Array) -> Array:
    return log_weight_N > -jnp.inf


@functools.partial(jax.jit, static_argnames="places")
def plan_labels(
    key: Array,
    arm: ArmSwitches,
    log_weight_N: Array,
    failures_N: Array,
    accepted_NxK: Array,
    theta: float | Array,
    budget: int | Array,
    round_: int | Array,
    *,
    places: int,
) -> tuple[Array, Array, LabelRequest]:
    """Reweights the failing prompts and chooses which labels to buy.

    Returns:
      New log_weight_N and failures_N, and a request of L = `places`, all empty if the arm buys no
      labels.
    """
    valid_N = _valid(log_weight_N)
    failing_N = failing(accepted_NxK, valid_N)
    failures_N = failures_N + failing_N
    weighed_once = (arm.labels == LABELS.index("static")) & (jnp.asarray(round_) > 0)
    log_weight_N = reweight(log_weight_N, failing_N, jnp.where(weighed_once, 0.0, theta))
    share_N = share_of(arm, jnp.exp(log_weight_N), failures_N, accepted_NxK, valid_N)
    count_N = allocate(key, budget, share_N, share_N > 0)
    prompt_id_L, valid_L = expand(count_N, places)
    first_N = prefix_sum(count_N) - count_N
    sample_L = jnp.where(valid_L, jnp.arange(places) - first_N[prompt_id_L], 0)
    return log_weight_N, failures_N, LabelRequest(prompt_id_L, sample_L.astype(jnp.int32), valid_L)


@jax.jit
def curate(
    arm: ArmSwitches, examples: TrainingSet, log_weight_N: Array, alpha: float | Array
) -> Mixture:
    """An arm's training mixture: the weight of every own response and of every label.

    Args:
      arm: the way of curating.
      examples: those of this round or of all; what is not an array there is not used.
      log_weight_N: difficulty weights; -inf for padding, on which nothing is trained.
      alpha: weight of the labels in the mixture.
    """
    kept_NxM = examples.kept_NxM
    kept_NxM = jnp.where(_valid(log_weight_N)[:, None], kept_NxM, jnp.zeros_like(kept_NxM))
    mixture = mix(kept_NxM, examples.labels.kept_L, alpha)
    weighed = by_difficulty(mixture, jnp.exp(log_weight_N), examples.prompt_id_L)
    return jax.tree.map(functools.partial(jnp.where, arm.weigh_training), weighed, mixture)


def curation_round(
    state: RoundState,
    fns: RoundFns,
    arm: Arm | ArmSwitches,
    curation: Curation,
    key: Array,
    round_: int | Array,
) -> RoundState:
    """Sample, filter, reweight, label, mix, train: one round.

    With functions that JAX can trace, the round itself can be jitted, scanned and vmapped.

    Args:
      state: from `initial_state` or the previous round.
      fns: the functions to call.
      arm: the way of curating. With `ArmSwitches`, labels are always requested and rounds always
        recalled, though the request may be empty.
      curation: settings.
      key: for the random rounding of label counts.
      round_: r, passed to `fns`.

    Example:
      >>> fns = boostlm.RoundFns(
      ...     sample=lambda learner, r: jnp.zeros((3, 2), jnp.int32),
      ...     judge=lambda responses, r: jnp.array([[True, True], [False] * 2, [False] * 2]),
      ...     label=lambda request, r: boostlm.Labels(request.prompt_id_L, request.valid_L),
      ...     train=lambda learner, responses, labels, mixture, r: learner + int(mixture.weak),
      ... )
      >>> state = boostlm.initial_state(learner=0, prompts=3)
      >>> curation = boostlm.Curation(theta=boostlm.theta_from_beta(0.5), budget=4, alpha=1 / 3)
      >>> arm, key = boostlm.ARMS["boosting"], jax.random.key(0)
      >>> state = boostlm.curation_round(state, fns, arm, curation, key, 0)
      >>> state.learner, int(state.labels_spent), state.failures_N.tolist()
      (4, 4, [0, 1, 1])
      >>> print(jnp.exp(state.log_weight_N).round(3))  # failing prompts weigh twice as much
      [0.2 0.4 0.4]
    """
    switches = switches_of(arm) if isinstance(arm, Arm) else arm
    responses = fns.sample(state.learner, round_)
    accepted_NxK = fns.judge(responses, round_)
    log_weight_N, failures_N, request = plan_labels(
        key,
        switches,
        state.log_weight_N,
        state.failures_N,
        accepted_NxK,
        curation.theta,
        curation.budget,
        round_,
        places=int(curation.budget) if curation.places is None else curation.places,
    )
    labels = Labels(None, jnp.zeros_like(request.valid_L))
    if not isinstance(arm, Arm) or arm.labels != "none":
        labels = fns.label(request, round_)
    kept_NxK = keep_own(switches.own, accepted_NxK)
    examples = TrainingSet(responses, kept_NxK, labels, request.prompt_id_L)
    if fns.recall is not None and (not isinstance(arm, Arm) or arm.data == "all"):
        examples = fns.recall(examples, round_)
    mixture = curate(switches, as_arrays(examples), log_weight_N, curation.alpha)
    learner = fns.train(state.learner, examples.responses, examples.labels, mixture, round_)
    return RoundState(
        learner=learner,
        log_weight_N=log_weight_N,
        failures_N=failures_N,
        labels_spent=state.labels_spent + jnp.sum(request.valid_L, dtype=jnp.int32),
        labels_kept=state.labels_kept + jnp.sum(labels.kept_L, dtype=jnp.int32),
    )


def as_arrays(examples: TrainingSet) -> TrainingSet:
    """What `curate` takes: the training set without the examples themselves."""
    return examples._replace(responses=None, labels=examples.labels._replace(examples=None))
