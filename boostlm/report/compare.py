"""Arms against each other: one summary an arm, and differences of final accuracy."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from boostlm.config import FOUR_ARMS
from boostlm.report.run_data import RunData, is_number
from boostlm.statistics.intervals import Estimate, crossed_interval

SETTLED = 0.05  # chance that a run with no true difference settles one, over all its comparisons


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
    """A difference of final accuracy after the same number of rounds.

    Attributes:
      first: an arm.
      second: another arm, or "start": the seed model.
      round: after which.
      first_mean: accuracy.
      second_mean: accuracy.
      differences: the difference of each seed.
      estimate: their mean, with its interval over seeds and prompts; without one if the answers
        are not all on disk.
      verdict: "above" or "below" if the difference is settled, otherwise "open". It is settled if
        0 is outside the interval at level 1 - SETTLED / number of comparisons (Bonferroni), and
        there are several seeds.
    """

    first: str
    second: str
    round: int
    first_mean: float
    second_mean: float
    differences: tuple[float, ...]
    estimate: Estimate
    verdict: str = "open"


def compare(run: RunData, first: str, second: str, comparisons: int = 1) -> Comparison | None:
    """`first` - `second` after the last round that both reached in some seed, if there is one.

    With `second` "start" the other side is the same arm's round 0. `comparisons` is how many the
    run is asked for.
    """
    ours = run.by_round(first, "test_accuracy")
    other_arm = first if second == "start" else second
    theirs = run.by_round(other_arm, "test_accuracy")
    for round_ in sorted(ours, reverse=True):
        then = 0 if second == "start" else round_
        other = theirs.get(then, {})
        seeds = [seed for seed in ours[round_] if seed in other]
        if round_ >= 1 and seeds:
            a, b = [ours[round_][s] for s in seeds], [other[s] for s in seeds]
            differences = tuple(x - y for x, y in zip(a, b, strict=True))
            found = Comparison(
                first,
                second,
                round_,
                sum(a) / len(a),
                sum(b) / len(b),
                differences,
                Estimate(sum(differences) / len(seeds), None, len(seeds)),
            )
            x, y = answers_of(run, first, seeds, round_), answers_of(run, other_arm, seeds, then)
            return found if x is None or y is None else _judged(found, x, y, comparisons)
    return None


def _judged(
    c: Comparison, ours: Sequence[np.ndarray], theirs: Sequence[np.ndarray], comparisons: int
) -> Comparison:
    """The comparison with its interval and its verdict."""
    value_SxM = np.stack(ours).astype(float) - np.stack(theirs)
    wide = crossed_interval(value_SxM, 1 - SETTLED / comparisons)
    verdict = "open"
    if wide.n > 1 and wide.low is not None and wide.high is not None:
        verdict = "above" if wide.low > 0 else "below" if wide.high < 0 else "open"
    return replace(c, estimate=crossed_interval(value_SxM), verdict=verdict)


def answers_of(
    run: RunData, arm: str, seeds: Sequence[int], round_: int
) -> list[np.ndarray] | None:
    """The greedy verdicts of each seed, bool [M]; None unless all are on disk, M at least 2."""
    found = [run.answered.get((arm, seed, round_)) for seed in seeds]
    answers = [x for x in found if x is not None and len(x) > 1]
    return answers if len(answers) == len(seeds) and len({len(x) for x in answers}) == 1 else None


def comparisons(run: RunData) -> list[Comparison]:
    """The comparisons that the verdict is about, the main one first.

    Arms besides the first four are compared with filter_only.
    """
    pairs = [("boosting", "filter_only"), ("boosting", "uniform"), ("do_nothing", "start")]
    pairs += [(arm, "filter_only") for arm in run.arms if arm not in FOUR_ARMS]
    there = [pair for pair in pairs if compare(run, *pair) is not None]
    return [c for pair in there if (c := compare(run, *pair, len(there))) is not None]


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
    start = [s for s in seeds if s in accuracy.get(0, {})]
    return ArmSummary(
        arm,
        last,
        _level(run, arm, start, 0) if start else None,
        _level(run, arm, seeds, last),
        labels,
        mean_at_last("labels_kept"),
        gain,
        sum(spent) / len(seeds),
    )


def _level(run: RunData, arm: str, seeds: Sequence[int], round_: int) -> Estimate:
    """The mean accuracy of some seeds after a round."""
    values = run.by_round(arm, "test_accuracy")[round_]
    mean = sum(values[s] for s in seeds) / len(seeds)
    answers = answers_of(run, arm, seeds, round_)
    half = None if answers is None else crossed_interval(np.stack(answers)).half
    return Estimate(mean, half, len(seeds))
