"""How many rounds and labels a target takes: Monte Carlo of the ideal learner, for any arm.

The real curation code runs, with k samples a prompt, the budget, the filter, and labels filtered or
not. The answer depends on how the chance p of a right answer is spread over prompts: with a mean of
0.4, 7,000 prompts, k = 8, 500 filtered labels a round of which a tenth are right and a target error
of 0.05, it is 1 round if all prompts are alike and 78 if every p is 0 or 1.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy import special

from boostlm.curation.arms import Arm
from boostlm.curation.difficulty import theta_from_beta
from boostlm.curation.ideal_learner import World, advance, initial_table, table_state
from boostlm.curation.policies import switches_of
from boostlm.curation.round import Curation

RUNS = 3  # simulated runs, whose range is the band
_AT_ONCE = 10  # rounds between two looks at whether the target is reached
_STUCK = 0.01  # a run ends if 20 rounds lower its error by less than this part


class PlanSettings(NamedTuple):
    """What a plan assumes.

    Attributes:
      beta: fraction of labels that are right.
      budget: labels a round.
      k: samples for each prompt in each round.
      alpha: weight of the labels in the mixture.
      miss_rate: the filter's miss rate.
      false_accept_rate: the filter's false-accept rate.
      filter_labels: train only on labels that the filter accepts.
      assumed_beta: what the reweighting assumes of them; None: `beta`.
    """

    beta: float
    budget: int
    k: int = 8
    alpha: float = 1 / 3
    miss_rate: float = 0.0
    false_accept_rate: float = 0.0
    filter_labels: bool = True
    assumed_beta: float | None = None


class PlannedRun(NamedTuple):
    """One simulated run.

    Attributes:
      error_R: float64, 1 - accuracy before each round and after the last.
      labels_R: int64, labels bought by then.
      kept_R: int64, labels trained on by then.
    """

    error_R: np.ndarray
    labels_R: np.ndarray
    kept_R: np.ndarray

    def reached(self, target_error: float) -> int | None:
        """The first round with an error of at most `target_error`, or None."""
        there = np.flatnonzero(self.error_R <= target_error)
        return int(there[0]) if len(there) else None


def spread_rates(mean: float, spread: float, prompts: int) -> np.ndarray:
    """Chances p of `prompts` prompts with this mean: the quantiles of a Beta distribution.

    Args:
      mean: the mean, in [0, 1].
      spread: 1 / (a + b + 1) for Beta(a, b): 0 if all prompts are alike, 1 if every p is 0 or 1.
      prompts: N.

    Example:
      >>> from boostlm.curation.planning import spread_rates
      >>> spread_rates(0.4, 0.0, 5).tolist(), spread_rates(0.4, 1.0, 5).tolist()
      ([0.4, 0.4, 0.4, 0.4, 0.4], [0.0, 0.0, 0.0, 1.0, 1.0])
    """
    if spread == 0 or mean in (0, 1):
        return np.full(prompts, float(mean))
    if spread == 1:
        return (np.arange(prompts) >= prompts - round(mean * prompts)).astype(float)
    size = 1 / spread - 1
    quantile = (np.arange(prompts) + 0.5) / prompts
    return special.betaincinv(mean * size, (1 - mean) * size, quantile)


def plan_arm(
    arm: Arm,
    settings: PlanSettings,
    p_RxN: np.ndarray,
    *,
    target_error: float | None,
    max_rounds: int = 1000,
    places: int | None = None,
    seed: int = 0,
    as_many_as: Sequence[PlannedRun] | None = None,
) -> list[PlannedRun]:
    """Simulated runs of one arm.

    A run ends when it reaches the target, when it gets stuck above it, or after `max_rounds`.

    Args:
      arm: the way of curating.
      settings: what the plan assumes.
      p_RxN: the chance to be right on each prompt before the first round, one row a run.
      target_error: in [0, 1]; None: no run ends before `max_rounds`.
      max_rounds: the most rounds of a run.
      places: length of label requests, at least the budget; None: the budget. With one length,
        plans with several budgets share what is compiled.
      seed: of all draws.
      as_many_as: the runs of the arm that `Arm.as_many_as` names; as many labels are bought as they
        kept, and none after their ends.
    """
    assumed = settings.beta if settings.assumed_beta is None else settings.assumed_beta
    theta, alpha = jnp.float32(theta_from_beta(assumed)), jnp.float32(settings.alpha)
    rates = settings.miss_rate, settings.false_accept_rate, settings.filter_labels
    world = World(jnp.float32(settings.beta), *map(jnp.asarray, rates))
    places = places or settings.budget
    for other in as_many_as or ():
        places = max(places, int(np.diff(other.kept_R).max(initial=0)))
    runs = []
    for i, p_N in enumerate(p_RxN):
        key, state = jax.random.key(seed * 1000 + i), table_state(initial_table(p_N))
        errors, labels, kept = [1 - float(np.mean(p_N))], [0], [0]
        while (left := max_rounds - len(errors) + 1) > 0 and not _ended(errors, target_error):
            done, rounds = len(errors) - 1, min(_AT_ONCE, left)
            budget_R = np.full(rounds, settings.budget)
            if as_many_as is not None:
                each = np.append(np.diff(as_many_as[i].kept_R), np.zeros(max_rounds, np.int64))
                budget_R = each[done : done + rounds]
            # The trace is taken before each round; the next look begins with what this one ends in.
            state, trace = advance(
                key,
                state,
                jnp.int32(done),
                switches_of(arm),
                Curation(theta, jnp.asarray(budget_R, jnp.int32), alpha),
                world,
                None,
                places=places,
                k=settings.k,
            )
            errors += [1 - float(x) for x in trace.accuracy[1:]]
            errors.append(1 - float(jnp.mean(state.learner.chance_NxA[:, 0])))
            labels += [*np.asarray(trace.labels[1:]).tolist(), int(state.labels_spent)]
            kept += [*np.asarray(trace.kept[1:]).tolist(), int(state.labels_kept)]
        run = PlannedRun(np.array(errors), np.array(labels), np.array(kept))
        end = None if target_error is None else run.reached(target_error)
        runs.append(run if end is None else PlannedRun(*(x[: end + 1] for x in run)))
    return runs


def _ended(errors: list[float], target_error: float | None) -> bool:
    """The target is reached, or the run is stuck above it."""
    if target_error is None:
        return False
    stuck = len(errors) > 20 and errors[-1] > (1 - _STUCK) * errors[-21]
    return stuck or errors[-1] <= target_error
