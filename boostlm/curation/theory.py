"""The ideal learner: what curation does when training reproduces its data's distribution exactly.

p is the chance that the model answers a prompt correctly; m is the filter's miss rate and a its
false-accept rate; beta is the share of labels that are right. Functions are vectorised over numpy
arrays. The setting is that of arXiv 2502.08924. Unless a docstring says otherwise, each prompt gets
one draw a round and labels are not filtered. `ideal_learner` simulates the same by Monte Carlo.

Example:
  >>> from boostlm import theory
  >>> float(theory.boosting(0.4, beta=0.1))  # the error 0.6 shrinks by the factor 0.9
  0.46
  >>> theory.solved_in_one_round([0.0, 0.5, 1.0], k=8)  # p = 0 is never solved
  0.665...
"""

import numpy as np
import numpy.typing as npt

Rates = float | np.ndarray  # one number, or an array of them


def do_nothing(p: Rates) -> Rates:
    """Expected p after training on own samples unfiltered: p, a martingale. Nothing is gained."""
    return p


def do_nothing_diversity(diversity: Rates, k: int | np.ndarray) -> Rates:
    """Expected chance that two answers differ, after training on k own draws.

    It shrinks by the factor 1 - 1/k a round. In the end the model gives one answer only: collapse.
    """
    return diversity * (1 - 1 / k)


def filter_only(p: Rates, miss_rate: Rates = 0.0, false_accept_rate: Rates = 0.0) -> np.ndarray:
    """p after training on what the filter accepts, from many draws.

    The odds are multiplied by (1 - m) / a; a perfect filter solves every prompt with p > 0.
    """
    right = p * (1 - miss_rate)
    accepted = right + (1 - p) * false_accept_rate
    return np.where(accepted > 0, right / np.where(accepted > 0, accepted, 1), p)


def solved_in_one_round(p: npt.ArrayLike, k: int) -> float:
    """Share of the prompts that one filtered round of k draws solves, with a perfect filter.

    1 - E[(1 - p)^k]: a prompt with a right answer among its draws is solved from then on. The other
    prompts keep their p, so later rounds solve more, up to the share of prompts with p > 0.
    """
    return float(1 - np.mean((1 - np.asarray(p)) ** k))


def boosting(
    p: Rates, beta: Rates, miss_rate: Rates = 0.0, false_accept_rate: Rates = 0.0
) -> Rates:
    """p' = p (1 - m) + [1 - p (1 - m) - (1 - p) a] beta: rejected draws are relabeled.

    With a perfect filter the error shrinks by the factor 1 - beta a round.
    """
    kept_right = p * (1 - miss_rate)
    rejected = 1 - kept_right - (1 - p) * false_accept_rate
    return kept_right + rejected * beta


def boosting_fixed_point(
    beta: Rates, miss_rate: Rates = 0.0, false_accept_rate: Rates = 0.0
) -> Rates:
    """The fixed point of `boosting`: p no longer changes from round to round.

    With m = a = gamma: beta (1 - gamma) / (gamma + beta (1 - 2 gamma)); 1 with a perfect filter.
    """
    m, a = miss_rate, false_accept_rate
    return beta * (1 - a) / (m + beta * (1 - m - a))


def budgeted(unsolved: Rates, beta: Rates, budget_fraction: Rates, hardest_first: bool) -> Rates:
    """Failing fraction u after a round of B = budget_fraction * N labels, one a prompt.

    Hardest first: u - beta min(u, B / N). Uniform: u (1 - beta B / N), which is never less.
    """
    if hardest_first:
        return unsolved - beta * np.minimum(unsolved, budget_fraction)
    return unsolved * (1 - beta * budget_fraction)


def turned_by(labels: int | np.ndarray, beta: Rates) -> Rates:
    """Chance that at least one of `labels` labels on a prompt is right."""
    return 1 - (1 - beta) ** labels
