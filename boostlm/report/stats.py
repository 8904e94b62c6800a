"""The report's numerics: the two statistics it makes its claims with, and the layout of axes.

The statistics are the mean over seeds and the paired difference, both with a t-interval.
"""

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


def mean_interval(values: Sequence[float], confidence: float = 0.95) -> Estimate:
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


def axis_limits(
    groups: Sequence[Sequence[float]], extra: Sequence[float] = ()
) -> tuple[float, float]:
    """Limits for an axis of fractions: the values, and mostly also each group's mean interval.

    The axis starts at 0 unless all lies close together far above it, and is never empty.
    """
    seen = [*(value for group in groups for value in group), *extra]
    if not seen:
        return 0.0, 1.0
    low, high = min(seen), max(seen)
    room = max(0.35 * (high - low), 0.02)  # an interval over two seeds may dwarf everything else
    for e in map(mean_interval, groups):
        if e.low is not None and e.high is not None:
            low = min(low, max(e.low, min(seen) - room))
            high = max(high, min(e.high, max(seen) + room))
    pad = 0.05 * (high - low) + 0.01
    top, bottom = max(min(1.0, high + pad), 0.1), max(0.0, low - pad)
    return (min(bottom, top - 0.1) if bottom > 0.6 * top else 0.0), top


def spread(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Positions near the wanted ones, in their order, at least `gap` apart, within [low, high].

    If there is no room for all within the limits they stay `gap` apart and run over the top.
    """
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    up, down = [wanted[i] for i in order], [wanted[i] for i in order]
    for i in range(1, len(order)):
        up[i] = max(up[i], up[i - 1] + gap)
    for i in reversed(range(len(order) - 1)):
        down[i] = min(down[i], down[i + 1] - gap)
    placed = [
        (a + b) / 2 for a, b in zip(up, down, strict=True)
    ]  # keeps the gaps, pushes both ways
    for i in reversed(range(len(order))):
        placed[i] = min(placed[i], high if i == len(order) - 1 else placed[i + 1] - gap)
    for i in range(len(order)):
        placed[i] = max(placed[i], low if i == 0 else placed[i - 1] + gap)
    return [placed[order.index(i)] for i in range(len(wanted))]
