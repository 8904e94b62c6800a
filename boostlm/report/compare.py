"""Arms against each other: one summary an arm, and differences of final accuracy."""

from dataclasses import dataclass

from boostlm.report.run_data import RunData, is_number
from boostlm.statistics.intervals import Estimate, mean_interval, paired_difference


@dataclass(frozen=True)
class ArmSummary:
    """One line of the final table. Means are over the seeds that reached `round`."""

    arm: str
    round: int
    start: Estimate | None
    final: Estimate
    labels: float
    kept: float
    gain_per_100: float | None  # accuracy over filter_only for each 100 labels bought
    seconds: float  # of all training rounds, a seed


@dataclass(frozen=True)
class Comparison:
    """A difference of final accuracy, seed by seed, after the same number of rounds."""

    first: str
    second: str  # another arm, or "start"
    round: int
    first_mean: float
    second_mean: float
    differences: tuple[float, ...]
    estimate: Estimate


def compare(run: RunData, first: str, second: str) -> Comparison | None:
    """`first` - `second` after the last round that both reached in some seed, if there is one.

    With `second` "start" the other side is the same arm's round 0.
    """
    ours = run.by_round(first, "test_accuracy")
    theirs = run.by_round(first if second == "start" else second, "test_accuracy")
    for round_ in sorted(ours, reverse=True):
        other = theirs.get(0 if second == "start" else round_, {})
        seeds = [seed for seed in ours[round_] if seed in other]
        if round_ >= 1 and seeds:
            a, b = [ours[round_][s] for s in seeds], [other[s] for s in seeds]
            return Comparison(
                first,
                second,
                round_,
                sum(a) / len(a),
                sum(b) / len(b),
                tuple(x - y for x, y in zip(a, b, strict=True)),
                paired_difference(a, b),
            )
    return None


def comparisons(run: RunData) -> list[Comparison]:
    """The comparisons that the verdict is about, the main one first."""
    pairs = (("boosting", "filter_only"), ("boosting", "uniform"), ("do_nothing", "start"))
    return [c for c in (compare(run, *pair) for pair in pairs) if c is not None]


def summaries(run: RunData) -> list[ArmSummary]:
    """One summary an arm, in the order of the arms."""
    return [_summary(run, arm) for arm in run.arms if run.by_round(arm, "test_accuracy")]


def _summary(run: RunData, arm: str) -> ArmSummary:
    accuracy = run.by_round(arm, "test_accuracy")
    last = max(accuracy)
    seeds = list(accuracy[last])

    def mean_at_last(field: str) -> float:
        values = run.by_round(arm, field).get(last, {})
        return sum(values.values()) / len(values) if values else 0.0

    labels = mean_at_last("labels_spent")
    against = None if arm == "filter_only" else compare(run, arm, "filter_only")
    gain = None
    if against is not None and against.round == last and labels > 0:
        gain = 100 * against.estimate.mean / labels
    # Round 0 is the seed model, which all arms share: its seconds belong to none of them.
    spent = [
        row["seconds"]
        for row in run.rows
        if row["arm"] == arm
        and row["seed"] in seeds
        and row["round"] >= 1
        and is_number(row["seconds"])
    ]
    start = [accuracy[0][s] for s in seeds if s in accuracy.get(0, {})]
    return ArmSummary(
        arm,
        last,
        mean_interval(start) if start else None,
        mean_interval(list(accuracy[last].values())),
        labels,
        mean_at_last("labels_kept"),
        gain,
        sum(spent) / len(seeds),
    )
