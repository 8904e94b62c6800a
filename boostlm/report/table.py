"""What the run says, in words and in one small table. The page and the terminal share it."""

import re
import textwrap
from dataclasses import dataclass

from boostlm.report.run_data import RunData, is_number, mean_shares
from boostlm.report.stats import Estimate, mean_interval, paired_difference

WIDTH = 80  # columns of the terminal table
NOTHING = 0.03  # accuracies that never get above this are "about 0": guessing reaches as much


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


def verdicts(run: RunData) -> list[str]:
    """Did curation help here, and how much? Sentences, the answer first."""
    accuracies = [row["test_accuracy"] for row in run.rows if is_number(row["test_accuracy"])]
    if not accuracies:
        return ["This run has no results yet."]
    unfinished = _unfinished(run)
    if max(accuracies) < NOTHING:
        split = run.config["data"]["eval_split"]
        most = f"more than {percent(max(accuracies))}" if max(accuracies) > 0 else "any"
        return [
            f"Nothing was learnt: no arm ever answered {most} of the {split} prompts correctly, so "
            "the comparison between arms means nothing.",
            *unfinished,
        ]
    found = {(c.first, c.second): c for c in comparisons(run)}
    main = found.get(("boosting", "filter_only"))
    said = [_main_verdict(run, main)]
    if ("boosting", "uniform") in found:
        said.append(_uniform_verdict(found["boosting", "uniform"]))
    if ("do_nothing", "start") in found:
        said.append(_do_nothing_verdict(found["do_nothing", "start"]))
    trained = [s for s in summaries(run) if s.round >= 1 and s.start is not None]
    if trained and all(s.final.mean <= s.start.mean for s in trained):
        best = max(s.final.mean for s in trained)
        said.append(
            f"No arm ended above the seed model's {percent(trained[0].start.mean)}; the best of "
            f"them is at {percent(best)}."
        )
    return said + unfinished


def _main_verdict(run: RunData, c: Comparison | None) -> str:
    if c is None:
        if not any(row["round"] >= 1 for row in run.rows):
            return "No round of training is finished yet: there is nothing to compare."
        return (
            "This run cannot say whether curation helped: it takes boosting and filter_only, "
            "both trained for at least one round from the same seed."
        )
    facts = (
        f"after round {c.round} boosting is at {percent(c.first_mean)} and filter_only at "
        f"{percent(c.second_mean)}, a difference of {difference(c.estimate)}"
    )
    words = {
        "above": f"Curation helped: {facts}.",
        "below": f"Curation did harm: {facts}.",
        "open": f"This run does not settle whether curation helped: {facts}, which includes 0.",
        "one seed": f"One seed: no interval, so this run does not settle whether curation helped; "
        f"{facts}.",
    }
    said = words[_where(c.estimate)]
    rows = run.last_rows("boosting")
    if all(row["labels_spent"] == 0 for row in rows):
        said += " But boosting bought no labels, so labels are not the reason."
    return said


def _uniform_verdict(c: Comparison) -> str:
    facts = (
        f"boosting is at {percent(c.first_mean)} and uniform, the same budget over all prompts, "
        f"at {percent(c.second_mean)}, {difference(c.estimate)}"
    )
    return {
        "above": f"Spending the labels on the hardest prompts was better: {facts}.",
        "below": f"Spending the labels on the hardest prompts was worse: {facts}.",
        "open": f"Whether it matters where the labels go stays open: {facts}, which includes 0.",
        "one seed": f"Where the labels went: {facts}.",
    }[_where(c.estimate)]


def _do_nothing_verdict(c: Comparison) -> str:
    facts = (
        f"from {percent(c.second_mean)} to {percent(c.first_mean)}, {difference(c.estimate)}, "
        "by training on its own unfiltered samples"
    )
    return {
        "above": f"do_nothing gained: {facts}.",
        "below": f"do_nothing lost: {facts}.",
        "open": f"do_nothing neither gained nor lost measurably: {facts}.",
        "one seed": f"do_nothing went {facts}.",
    }[_where(c.estimate)]


def band_leads(run: RunData) -> str:
    """Where boosting is most and least ahead of filter_only; empty if that cannot be said."""
    ours, theirs = run.last_rows("boosting"), run.last_rows("filter_only")
    if not ours or not theirs or ours[0]["round"] != theirs[0]["round"]:
        return ""
    a, b = (mean_shares([row["eval_by_band"] for row in rows]) for rows in (ours, theirs))
    leads = {band: a[band] - b[band] for band in a if band in b}
    if len(leads) < 2 or not any(leads.values()):
        return ""
    least, most = min(leads, key=leads.__getitem__), max(leads, key=leads.__getitem__)
    return (
        f"Boosting against filter_only: from {points(leads[least])} points in {least} to "
        f"{points(leads[most])} in {most}. These are the extremes of {len(leads)} bands, so partly "
        "chance."
    )


def _where(e: Estimate) -> str:
    """Where the interval lies with respect to 0."""
    if e.low is None or e.high is None:
        return "one seed"
    return "above" if e.low > 0 else "below" if e.high < 0 else "open"


def _unfinished(run: RunData) -> list[str]:
    done, expected = run.progress()
    if done >= expected:
        return []
    return [
        f"The run is not finished: {done} of {expected} pairs of arm and seed have reached round "
        f"{run.config['rounds']}, and every number may still change."
    ]


def percent(value: float) -> str:
    """An accuracy, such as 45.6%."""
    return f"{100 * value:.1f}%"


def points(value: float) -> str:
    """A difference of accuracies, such as +6.3; what rounds to 0 has no sign."""
    rounded = round(100 * value, 1)
    return f"{rounded:+.1f}" if rounded else "0.0"


def difference(e: Estimate) -> str:
    """A difference with its interval, in words."""
    if e.low is None or e.high is None:
        return f"{points(e.mean)} points"
    return (
        f"{points(e.mean)} points (95% interval {points(e.low)} to {points(e.high)}, paired over "
        f"{e.n} seeds)"
    )


def final_table(run: RunData) -> str:
    """The final table and the verdicts, as plain text of at most 80 columns."""
    split, seeds = run.config["data"]["eval_split"], len(run.seeds)
    title = f"{run.config['name']}: {split} accuracy, {seeds} seed{'s' * (seeds != 1)}"
    lines = [*textwrap.wrap(title, WIDTH), ""]
    of_arm = summaries(run)
    if of_arm:
        note = "per 100: accuracy points above filter_only for each 100 labels bought"
        if any(s.final.half is not None for s in of_arm):
            note += "; \N{PLUS-MINUS SIGN}: 95% t-interval over seeds, in points"
        lines += [*_aligned(of_arm), "", *textwrap.wrap(note, WIDTH), ""]
    for sentence in verdicts(run):
        lines += textwrap.wrap(sentence, WIDTH)
    return "\n".join(lines) + "\n"


def _aligned(of_arm: list[ArmSummary]) -> list[str]:
    """The table's lines, every column as wide as it must be."""
    head = ("arm", "round", "start", "final", "", "labels", "kept", "per 100", "seconds")
    cells = [
        (
            s.arm[:11],
            str(s.round),
            "-" if s.start is None else percent(s.start.mean),
            percent(s.final.mean),
            plus_minus(s.final),
            f"{s.labels:,.0f}",
            f"{s.kept:,.0f}",
            rate(s.gain_per_100),
            f"{s.seconds:,.0f}",
        )
        for s in of_arm
    ]
    widths = [max(map(len, column)) for column in zip(head, *cells, strict=True)]
    gap = "  " if sum(widths) + 2 * (len(widths) - 1) <= WIDTH else " "
    return [
        gap.join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip()
        for row in (head, *cells)
    ]


def plus_minus(e: Estimate) -> str:
    """Half the interval in points; empty for one seed."""
    return "" if e.half is None else f"\N{PLUS-MINUS SIGN}{100 * e.half:.1f}"


def rate(gain_per_100: float | None) -> str:
    """Points for 100 labels, with two decimals since a label does little."""
    if gain_per_100 is None:
        return "-"
    rounded = round(100 * gain_per_100, 2)
    return f"{rounded:+.2f}" if rounded else "0.00"


def short_name(name: str, width: int = 22) -> str:
    """A name on at most two lines; of a very long one the beginning and the end."""
    name = " ".join(name.split())
    lines = textwrap.wrap(name, width)
    if len(lines) > 2:
        tail = textwrap.wrap(name[::-1], width)[0][::-1]  # as many whole words as fit
        lines = [textwrap.wrap(name, width - 2)[0] + " \N{HORIZONTAL ELLIPSIS}", tail]
    return "\n".join(lines)


def minus(text: str) -> str:
    """The text with proper minus signs, which a terminal may lack."""
    return re.sub(r"(?<!\S)-(?=\d)", "\N{MINUS SIGN}", text)
