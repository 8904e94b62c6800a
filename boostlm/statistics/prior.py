"""How the chance p of a right answer is spread over prompts, read off k verdicts on each of them.

A prompt's share of right answers is not its p: put into (1 - p)^k, or into any other curved
function, it is biased. So a prior over prompts is fitted: with chance `never` a prompt is never
solved (p = 0), otherwise p is Beta-distributed with a mean and a spread. The spread is
1 / (a + b + 1): 0 if all prompts have the same p, 1 if every p is 0 or 1.
"""

from typing import NamedTuple

import numpy as np
from scipy import special

# The least and greatest logit(mean), logit(spread) and never.
_BOUNDS = np.array([[-7.0, 7.0], [-8.0, 6.0], [0.0, 0.98]])
_POINTS, _ZOOMS = 17, 5  # points of the grid along each axis, and how often it is refined


class Prior(NamedTuple):
    """Priors over prompts, in arrays of any one shape; scalars for a single one.

    Attributes:
      mean: float64, of p among the prompts that are sometimes solved.
      spread: float64, of p among these, in (0, 1).
      never: float64, share of the prompts that are never solved.
    """

    mean: np.ndarray
    spread: np.ndarray
    never: np.ndarray

    @property
    def shape(self) -> tuple[np.ndarray, np.ndarray]:
        """The parameters a and b of the Beta distribution."""
        size = 1 / self.spread - 1
        return self.mean * size, (1 - self.mean) * size


class PriorPosterior(NamedTuple):
    """Priors on a grid, and how probable the verdicts make each of them.

    Attributes:
      priors: arrays [G].
      weight_G: float64, adding up to 1.
    """

    priors: Prior
    weight_G: np.ndarray


def fit_prior(right_N: np.ndarray, k: int) -> PriorPosterior:
    """The posterior over priors.

    Before the data, logit(mean) and logit(spread) are uniform, and `never` is 0 with chance 1/2 and
    otherwise uniform.

    Args:
      right_N: int, right answers among k samples of each prompt.
      k: samples a prompt.
    """
    count_X = np.bincount(np.asarray(right_N, int), minlength=k + 1)
    bounds, found = _BOUNDS, None
    for _ in range(_ZOOMS):
        axes = [np.linspace(low, high, _POINTS) for low, high in bounds]
        points_3xG = np.array([x.ravel() for x in np.meshgrid(*axes, indexing="ij")])
        priors = Prior(special.expit(points_3xG[0]), special.expit(points_3xG[1]), points_3xG[2])
        step_of_never = axes[2][1] - axes[2][0]
        before_G = np.where(priors.never == 0, 1.0, step_of_never)
        weight_G = before_G * _likelihood(priors, count_X)
        weight_G = weight_G / weight_G.sum()
        found = PriorPosterior(priors, weight_G)
        centre = points_3xG @ weight_G
        deviation = np.sqrt((points_3xG - centre[:, None]) ** 2 @ weight_G)
        step = (bounds[:, 1] - bounds[:, 0]) / (_POINTS - 1)
        half = np.maximum(4 * deviation, step)[:, None] * np.array([-1, 1])
        bounds = np.clip(centre[:, None] + half, *_BOUNDS[:, :, None].swapaxes(0, 1))
    assert found is not None
    return found


def _likelihood(priors: Prior, count_X: np.ndarray) -> np.ndarray:
    """The likelihood of each prior, up to a factor: count_X[x] prompts have x of k right."""
    k, (a_G, b_G) = len(count_X) - 1, priors.shape
    log_likelihood_G = np.zeros(len(a_G))
    for x in np.flatnonzero(count_X):
        chance_G = (1 - priors.never) * np.exp(_log_beta_binomial(int(x), k, a_G, b_G))
        if x == 0:
            chance_G = chance_G + priors.never
        log_likelihood_G += count_X[x] * np.log(np.maximum(chance_G, 1e-300))
    return np.exp(log_likelihood_G - log_likelihood_G.max())


def _log_beta_binomial(x: int, k: int, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Log of the chance of x right answers in k, p being Beta(a, b)."""
    choose = special.gammaln(k + 1) - special.gammaln(x + 1) - special.gammaln(k - x + 1)
    return choose + special.betaln(a + x, b + k - x) - special.betaln(a, b)


def draw_prior(rng: np.random.Generator, posterior: PriorPosterior) -> Prior:
    """One prior, drawn by its probability."""
    i = rng.choice(len(posterior.weight_G), p=posterior.weight_G)
    return Prior(*(x[i] for x in posterior.priors))


def draw_rates(rng: np.random.Generator, prior: Prior, right_N: np.ndarray, k: int) -> np.ndarray:
    """One p for each prompt, given the prior and its verdicts: float64 [N].

    With k = 0 and zeros for `right_N` these are draws from the prior.
    """
    a, b = prior.shape
    right_N = np.asarray(right_N, int)
    unseen = np.exp(_log_beta_binomial(0, k, a, b))
    never = prior.never / (prior.never + (1 - prior.never) * unseen)
    p_N = rng.beta(a + right_N, b + k - right_N)
    return np.where((right_N == 0) & (rng.random(len(right_N)) < never), 0.0, p_N)
