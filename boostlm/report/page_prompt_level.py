"""The page's sections on the finer measurements; each is empty if the run has none of them."""

from collections.abc import Callable
from html import escape

from boostlm.report.compare import SETTLED
from boostlm.report.html import arm_name, count, html_table
from boostlm.report.label_rate import rates_by_round
from boostlm.report.prompt_level import (
    Audited,
    Signs,
    all_paired,
    audited,
    mean_pass,
    p_words,
    pass_by_group,
    signs,
)
from boostlm.report.run_data import RunData
from boostlm.report.wording import interval_ends, minus, percent, points
from boostlm.statistics.audit import Rate
from boostlm.statistics.collapse import ALARM_P, DIVERSITY_LEFT, LASTING

DASH = "\N{EN DASH}"


def _soft(text: str) -> str:
    return f'<span class="soft">{escape(text)}</span>'


def _section(title: str, lead: str, shown: str, note: str) -> str:
    return (
        f'<h2>{escape(title)}</h2>\n<p class="note">{escape(lead)}</p>\n{shown}\n'
        f'<p class="note">{escape(note)}</p>'
    )


def pairs(run: RunData) -> str:
    """The arms prompt by prompt: differences with intervals, and McNemar's test for each seed."""
    found = all_paired(run)
    if not found:
        return ""
    several = any(len(p.tests) > 1 for p in found)
    head = ("", "only the first is right", "only the second is right")
    head += ("points, 95% interval", "McNemar's exact p" + " by seed" * several)
    lines = []
    for p in found:
        c, e = p.comparison, p.comparison.estimate
        lines.append(
            [
                f"{arm_name(c.first)} \N{MINUS SIGN} {escape(c.second)}",
                f"{p.first_only:,}",
                f"{p.second_only:,}",
                f"{minus(points(e.mean))} {_soft(minus(interval_ends(e)))}",
                _soft(", ".join(p_words(test.p) for test in p.tests)),
            ]
        )
    note = (
        "Prompts that both models answer, or neither, do not tell the models apart. "
        + (
            "The interval covers other seeds and other prompts: the variance of the mean adds up "
            "the variances between seeds, between prompts, and of the rest. "
            if several
            else "With one seed the interval covers other prompts only, with these two models. "
        )
        + "McNemar's test asks whether the two trained models of a seed are equally good on "
        "prompts like these; it says nothing about other seeds. A difference counts as settled if "
        f"0 is outside an interval of {1 - SETTLED / len(found):.1%}, because the run makes "
        f"{count(len(found), 'comparison')}, and if there are several seeds."
    )
    split = run.config["data"]["eval_split"]
    lead = f"The same {split} prompts, answered greedily by two models after the last round."
    return _section("Prompt by prompt", lead, html_table(head, lines), note)


def pass_rates(run: RunData) -> str:
    """pass@k on the training prompts and, if they were sampled, on the evaluated ones."""
    split = run.config["data"]["eval_split"]
    parts, groups = [], []
    for key, name in (("train_pass", "training"), ("eval_pass", split)):
        start = next((s for a in run.arms if (s := mean_pass(run, a, key, False))), {})
        final = {arm: mean_pass(run, arm, key) for arm in run.arms}
        ks = list(dict.fromkeys(k for rates in (start, *final.values()) for k in rates))
        if not ks:
            continue
        lines = [["the seed model", *_rates(start, ks)]] if start else []
        lines += [[arm_name(arm), *_rates(rates, ks)] for arm, rates in final.items() if rates]
        parts.append(
            f"<div><h3>On the {escape(name)} prompts</h3>"
            f"{html_table([''] + [f'pass@{k}' for k in ks], lines)}</div>"
        )
        groups.append(_pass_groups(run, f"{key}_by_group", name, ks))
    if not parts:
        return ""
    lead = "Chance that at least one of k sampled responses is correct (at the sampling "
    lead += "temperature), after the last round."
    note = (
        "The unbiased estimate from all samples of a prompt, averaged over prompts and seeds. A "
        "model that only becomes surer of itself gains at k = 1 and loses at large k; one that "
        "learns gains at both."
    )
    shown = f'<div class="pair">{"".join(parts)}</div>'
    return _section("One try or several", lead, shown, note) + "".join(groups)


def _rates(rates: dict[str, float], ks: list[str]) -> list[str]:
    return [percent(rates[k]) if k in rates else DASH for k in ks]


def _pass_groups(run: RunData, key: str, name: str, ks: list[str]) -> str:
    """A folded table: every arm's pass@k by group, for the smallest and the largest k."""
    found = {arm: by_group for arm in run.arms if (by_group := pass_by_group(run, arm, key))}
    groups = [
        group for group in run.groups if any(group in by_group for by_group in found.values())
    ]
    if not groups:
        return ""
    shown = list(dict.fromkeys((ks[0], ks[-1])))
    head = ["", *(f"{arm} pass@{k}" for arm in found for k in shown)]
    lines = [
        [
            escape(group),
            *(c for rates in found.values() for c in _rates(rates.get(group, {}), shown)),
        ]
        for group in groups
    ]
    return (
        f"<details><summary>pass@k by group of the {escape(name)} prompts</summary>"
        f"{html_table(head, lines)}</details>"
    )


def collapse(run: RunData) -> str:
    """The collapse alarm, and what it watches."""
    found = signs(run)
    if not found:
        return ""
    head = ("", "two wrong answers differ", "solved prompts lost", "unsolved prompts gained")
    head += ("loss on the hardest tenth", "alarm")
    lines = [_signs_line(s) for s in found]
    said = [
        f"<p>{arm_name(s.arm)}, seed {seed}, "
        + (f"round {since}" if since == until else f"rounds {since} to {until}")
        + f": {escape(minus(seen))}.</p>"
        for s in found
        for seed, _, since, until, seen in s.alarms
    ]
    lead = "Collapse is a model that gets worse, or narrower without getting better, by training "
    lead += "on its own output. Each arm is compared with its own start."
    if not said:
        lead += " No alarm in this run."
    note = (
        "Two numbers: the seed model's and the last round's. Lost and gained count the last round. "
        "Diversity is the chance that two wrong answers to a prompt differ. Right answers are "
        "alike, so diversity among all answers also shrinks when a model gets better. Loss is the "
        "model's loss on its own answers, in nats a token, for the tenth of the prompts with the "
        "largest difficulty weights; near 0 it has settled on its answers there, right or wrong. "
        f"An alarm means: greedy accuracy is below the seed model's (McNemar p < {ALARM_P:g}); or, "
        f"for {LASTING} rounds, clearly less than {DIVERSITY_LEFT:.0%} of the diversity is left "
        "without a clear gain in accuracy; or, as long, clearly more prompts left the solved set "
        "than entered it."
    )
    shown = html_table(head, lines) + (f'<div class="said">{"".join(said)}</div>' if said else "")
    return _section("Signs of collapse", lead, shown, note)


def _signs_line(s: Signs) -> list[str]:
    def change(ends: tuple[float | None, float | None], words: Callable[[float], str]) -> str:
        start, end = (DASH if v is None else words(v) for v in ends)
        return f"{_soft(f'{start} to')} {end}"

    kinds = sorted({kind for _, kind, *_ in s.alarms})
    return [
        arm_name(s.arm),
        change(s.diversity, percent),
        DASH if s.lost is None else percent(s.lost),
        DASH if s.gained is None else percent(s.gained),
        change(s.tail_loss, lambda v: f"{v:.2f}"),
        f"<strong>{', '.join(kinds)}</strong>" if kinds else "none",
    ]


def audit(run: RunData) -> str:
    """What the audited sample says of the labels and of the filter."""
    found = audited(run)
    if not found:
        return ""
    settings, label = run.config["filter"], run.config["label"]
    head = ("", "labels that are right (beta)", "correct responses that the filter rejects")
    head += ("wrong ones that it accepts", "responses and labels checked")
    told = [
        '<span class="soft">as set</span>',
        percent(label["beta"]) if label["labeler"] == "simulated" else DASH,
        percent(settings["miss_rate"]),
        percent(settings["false_accept_rate"]),
        "",
    ]
    lead = f"Up to {count(settings['audit'], 'response')} a round, and as many labels, are drawn"
    lead += " at random and checked exactly. The rest is inferred, with 95% intervals."
    note = (
        "All rounds and seeds of an arm together. Responses are drawn within each verdict of the "
        "filter and weighed by how many responses it has; intervals are Clopper and Pearson's for "
        "labels, and for the filter's rates the limits that follow from those of the two verdicts."
    )
    table = html_table(head, [*map(_audit_line, found), told])
    return _section("What an audit finds", lead, table, note) + _rates_by_round(run)


def _rates_by_round(run: RunData) -> str:
    """A table of the labels' measured rate, by arm and round."""
    found = rates_by_round(run)
    if not found:
        return ""
    labeler = escape(run.config["label"]["labeler"])
    lines = [[arm_name(r.arm), f"{r.round}", f"{r.checked:,}", _rate(r.rate)] for r in found]
    return (
        f"<details><summary>Labels of {labeler} that are right, by round</summary>"
        '<p class="note">Boosting buys labels on failing prompts only, and those are harder from '
        "round to round; uniform buys them on all prompts. With 95% intervals.</p>"
        f"{html_table(('', 'round', 'labels checked', 'right'), lines)}</details>"
    )


def _audit_line(a: Audited) -> list[str]:
    return [
        arm_name(a.arm),
        DASH if a.beta is None else _rate(a.beta),
        _rate(a.miss),
        _rate(a.false_accept),
        f"{a.responses:,} and {a.labels:,}",
    ]


def _rate(rate: Rate) -> str:
    value, low, high = (float(x) for x in rate)
    known = percent(value) if value == value else DASH  # NaN where nothing tells
    return f"{known} {_soft(f'{percent(low)} to {percent(high)}')}"
