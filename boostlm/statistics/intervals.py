"""Means over seeds and paired differences, with t-intervals."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats


@dataclass(frozen=True)
class Estimate:
    """A mean over `n` repeats and half the width of its interval, None when n is 1."""

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
    quantile = stats.t.ppf((1 + confidence) / 2, x.size - 1)
    return Estimate(mean, float(quantile * x.std(ddof=1) / np.sqrt(x.size)), int(x.size))


def paired_difference(
    first: Sequence[float], second: Sequence[float], confidence: float = 0.95
) -> Estimate:
    """Mean of first - second with its t-interval; element i of both is the same seed.

    Pairing takes out what the two share in a seed: the seed model and the round-0 samples.
    """
    if len(first) != len(second):
        raise ValueError(f"{len(first)} values cannot be paired with {len(second)}")
    return mean_interval(np.asarray(first, float) - np.asarray(second, float), confidence)
