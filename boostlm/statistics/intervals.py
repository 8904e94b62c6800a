"""Means with intervals: over seeds, and over seeds and prompts together."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special


@dataclass(frozen=True)
class Estimate:
    """A mean over `n` seeds and half the width of its interval; None if there is no interval."""

    mean: float
    half: float | None
    n: int

    @property
    def low(self) -> float | None:
        """Lower end of the interval."""
        return None if self.half is None else self.mean - self.half

    @property
    def high(self) -> float | None:
        """Upper end of the interval."""
        return None if self.half is None else self.mean + self.half


def mean_interval(values: Sequence[float] | np.ndarray, confidence: float = 0.95) -> Estimate:
    """Mean and two-sided Student t-interval. One value has no spread, hence no interval."""
    x = np.asarray(values, dtype=np.float64)
    if x.ndim != 1 or x.size == 0:
        raise ValueError(f"need a flat, non-empty sequence, not shape {x.shape}")
    mean = float(x.mean())
    if x.size == 1:
        return Estimate(mean, None, 1)
    quantile = special.stdtrit(x.size - 1, (1 + confidence) / 2)
    return Estimate(mean, float(quantile * x.std(ddof=1) / np.sqrt(x.size)), int(x.size))


def crossed_interval(value_SxM: np.ndarray, confidence: float = 0.95) -> Estimate:
    """Mean over S seeds and M prompts, with an interval for other seeds and other prompts.

    Every seed answers the same prompts, so the two are crossed:

        value[s, m] = mean + seed[s] + prompt[m] + rest[s, m].

    With the mean squares MS of the two-way analysis of variance, the variance of the mean is
    estimated by (MS_seed + MS_prompt - MS_rest) / (S M), and its degrees of freedom by
    Satterthwaite ("An approximate distribution of estimates of variance components", 1946). Three
    choices make it err on the wide side. MS_seed counts at least as much as MS_rest, so the
    interval is never narrower than prompts alone make it. The degrees of freedom are at least
    S - 1, those of the seeds. And MS_prompt is at least that of one prompt on which one seed
    differs, so models with equal answers do not get an interval of width 0.

    With one seed the interval is for other prompts only: it speaks of that seed's models.

    Args:
      value_SxM: numbers or bool, for differences of two models' verdicts or for verdicts.
      confidence: the interval's confidence level.

    Raises:
      ValueError: no seed, or fewer than 2 prompts.
    """
    value_SxM = np.asarray(value_SxM, np.float64)
    if value_SxM.ndim != 2 or value_SxM.shape[0] < 1 or value_SxM.shape[1] < 2:
        raise ValueError(f"need [seeds, prompts >= 2], not shape {value_SxM.shape}")
    S, M = value_SxM.shape
    mean, of_seed_S, of_prompt_M = value_SxM.mean(), value_SxM.mean(axis=1), value_SxM.mean(axis=0)
    ms_prompt = max(S * of_prompt_M.var(ddof=1), 1 / (S * M))
    if S == 1:
        variance, freedom = ms_prompt, M - 1
    else:
        rest_SxM = value_SxM - of_seed_S[:, None] - of_prompt_M + mean
        ms_rest = np.sum(rest_SxM**2) / ((S - 1) * (M - 1))
        ms_seed = max(M * of_seed_S.var(ddof=1), ms_rest)
        variance = ms_seed + ms_prompt - ms_rest
        parts = (ms_seed**2 / (S - 1), ms_prompt**2 / (M - 1), ms_rest**2 / ((S - 1) * (M - 1)))
        freedom = max(variance**2 / sum(parts), S - 1)
    quantile = special.stdtrit(freedom, (1 + confidence) / 2)
    return Estimate(float(mean), float(quantile * np.sqrt(variance / (S * M))), S)
