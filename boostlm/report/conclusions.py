"""What the run says, in sentences; the page and the terminal share them."""

from collections import Counter

from boostlm.experiment.metrics import unanswered_in_words
from boostlm.report.compare import Comparison, comparisons, summaries
from boostlm.report.run_data import RunData, is_number, mean_shares
from boostlm.report.wording import difference, percent, points

NOTHING = 0.03  # accuracies that never get above this are "about 0": guessing reaches as much


def conclusions(run: RunData) -> list[str]:
    """Did curation help here, and how much? Sentences, the answer first."""
    accuracies = [row["test_accuracy"] for row in run.rows if is_number(row["test_accuracy"])]
    if not accuracies:
        return ["This run has no results yet."]
    unfinished = [*_unanswered(run), *_unfinished(run)]
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
    trained = [
        (s.final.mean, s.start.mean) for s in summaries(run) if s.round >= 1 and s.start is not None
    ]
    if trained and all(final <= start for final, start in trained):
        best = max(final for final, _ in trained)
        said.append(
            f"No arm ended above the seed model's {percent(trained[0][1])}; the best of "
            f"them is at {percent(best)}."
        )
    return said + unfinished


def _main_verdict(run: RunData, c: Comparison | None) -> str:
    if c is None:
        if not any(row["round"] >= 1 for row in run.rows):
            return "No round of training is finished yet, so no comparison is possible."
        return (
            "This run cannot say whether curation helped: that takes boosting and filter_only, "
            "both trained for at least one round from the same seed."
        )
    facts = (
        f"after round {c.round} boosting is at {percent(c.first_mean)} and filter_only at "
        f"{percent(c.second_mean)}, a difference of {difference(c.estimate)}"
    )
    words = {
        "above": f"Curation helped: {facts}.",
        "below": f"Curation did harm: {facts}.",
        "open": f"This run does not settle whether curation helped: {facts}.{_why_open(c)}",
    }
    said = words[c.verdict]
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
        "open": f"Whether it matters where the labels go stays open: {facts}.",
    }[c.verdict]


def _do_nothing_verdict(c: Comparison) -> str:
    facts = (
        f"from {percent(c.second_mean)} to {percent(c.first_mean)}, {difference(c.estimate)}, "
        "by training on its own unfiltered samples"
    )
    return {
        "above": f"do_nothing gained: {facts}.",
        "below": f"do_nothing lost: {facts}.",
        "open": f"Whether do_nothing gained or lost stays open: it went {facts}.",
    }[c.verdict]


def group_leads(run: RunData) -> str:
    """Where boosting is most and least ahead of filter_only; empty if that cannot be said."""
    ours, theirs = run.last_rows("boosting"), run.last_rows("filter_only")
    if not ours or not theirs or ours[0]["round"] != theirs[0]["round"]:
        return ""
    a, b = (mean_shares([row["eval_by_group"] for row in rows]) for rows in (ours, theirs))
    leads = {group: a[group] - b[group] for group in a if group in b}
    if len(leads) < 2 or not any(leads.values()):
        return ""
    least, most = min(leads, key=leads.__getitem__), max(leads, key=leads.__getitem__)
    return (
        f"Boosting against filter_only: from {points(leads[least])} points in {least} to "
        f"{points(leads[most])} in {most}. These are the extremes of {len(leads)} groups, so "
        "partly chance."
    )


def _why_open(c: Comparison) -> str:
    """Why a difference is not settled, if the interval alone does not tell."""
    e = c.estimate
    if e.low is None or e.high is None:
        return " The answers of its models are not all on disk, so it has no interval."
    if e.n == 1:
        return " One seed tells nothing about what training again would give."
    if e.low > 0 or e.high < 0:
        return " The run makes several comparisons, so each takes a wider interval than that."
    return ""


def _unanswered(run: RunData) -> list[str]:
    """A sentence if labels are unanswered, over all arms, seeds and rounds."""
    asked, reasons = 0, Counter[str]()
    for row in run.rows:
        asked += row["audit"]["labels"]["of"] if row["audit"] else 0
        reasons.update(row["labels_unanswered"] or {})
    if not reasons:
        return []
    said = unanswered_in_words(asked, dict(reasons.most_common()))
    none = "No label came back: " if reasons.total() == asked else ""
    return [f"{none}{said}. They count as bought and as wrong, and were not trained on."]


def _unfinished(run: RunData) -> list[str]:
    done, expected = run.progress()
    if done >= expected:
        return []
    return [
        f"The run is not finished: {done} of {expected} pairs of arm and seed have reached round "
        f"{run.config['rounds']}, and every number may still change."
    ]
