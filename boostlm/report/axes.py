"""The layout of axes: their limits, and labels that do not overlap."""

from collections.abc import Sequence

from boostlm.statistics.intervals import mean_interval

SHADED = 3  # seeds, at least, whose interval is drawn: over two, it covers most of the axis


def axis_limits(
    groups: Sequence[Sequence[float]], extra: Sequence[float] = ()
) -> tuple[float, float]:
    """Limits for an axis of fractions: the values, and mostly also each group's shaded interval.

    The axis starts at 0, unless all values are close together and far above 0. It is never empty.
    """
    seen = [*(value for group in groups for value in group), *extra]
    if not seen:
        return 0.0, 1.0
    low, high = min(seen), max(seen)
    room = max(0.35 * (high - low), 0.02)  # an interval over few seeds may dwarf everything else
    for e in map(mean_interval, groups):
        if e.n >= SHADED and e.low is not None and e.high is not None:
            low = min(low, max(e.low, min(seen) - room))
            high = max(high, min(e.high, max(seen) + room))
    pad = 0.05 * (high - low) + 0.01
    top, bottom = max(min(1.0, high + pad), 0.1), max(0.0, low - pad)
    return (min(bottom, top - 0.1) if bottom > 0.6 * top else 0.0), top


def spread_labels(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
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
