"""The final table in a terminal."""

import textwrap
from collections.abc import Sequence

from boostlm.report.compare import ArmSummary, summaries
from boostlm.report.conclusions import conclusions
from boostlm.report.prompt_level import Paired, all_paired, p_words, pair_name, signs
from boostlm.report.run_data import RunData
from boostlm.report.wording import interval_ends, percent, plus_minus, rate, short_arm

WIDTH = 80  # columns of the terminal table


def final_table(run: RunData) -> str:
    """The final table and the verdicts, as plain text of at most 80 columns."""
    split, seeds = run.config["data"]["eval_split"], len(run.seeds)
    title = f"{run.config['name']}: {split} accuracy, {seeds} seed{'s' * (seeds != 1)}"
    lines = [*textwrap.wrap(title, WIDTH), ""]
    of_arm = summaries(run)
    if of_arm:
        note = "per 100: accuracy points above filter_only for each 100 labels bought"
        if any(s.final.half is not None for s in of_arm):
            whose = "seeds and prompts" if seeds > 1 else "prompts, for these models"
            note += f"; \N{PLUS-MINUS SIGN}: half the 95% interval over {whose}, in points"
        lines += [*_aligned(of_arm), "", *textwrap.wrap(note, WIDTH), ""]
    if found := all_paired(run):
        lines += [*_paired_lines(found), ""]
    for a in signs(run):
        for seed, kind, since, until, _ in a.alarms:
            rounds = f"round {since}" if since == until else f"rounds {since} to {until}"
            alarm = f"Collapse alarm ({kind}): {a.arm}, seed {seed}, {rounds}."
            lines += textwrap.wrap(alarm, WIDTH)
    if lines[-1]:
        lines.append("")
    for sentence in conclusions(run):
        lines += textwrap.wrap(sentence, WIDTH)
    return "\n".join(lines) + "\n"


def _paired_lines(found: list[Paired], tests: int = 4) -> list[str]:
    """The comparisons prompt by prompt, a line each, with the p of so many seeds."""
    head = ("prompt by prompt", "only 1st", "only 2nd", "95% interval", "McNemar p by seed")
    cells = [
        (
            pair_name(p.comparison),
            f"{p.first_only:,}",
            f"{p.second_only:,}",
            interval_ends(p.comparison.estimate),
            " ".join(p_words(test.p) for test in p.tests[:tests]) + " ..." * (len(p.tests) > tests),
        )
        for p in found
    ]
    lines = _columns([head, *cells])
    too_wide = tests > 1 and max(map(len, lines)) > WIDTH
    return _paired_lines(found, tests - 1) if too_wide else lines


def _columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table, every column as wide as it must be, names on the left."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    gap = "  " if sum(widths) + 2 * (len(widths) - 1) <= WIDTH else " "
    return [
        gap.join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip()
        for row in rows
    ]


def _aligned(of_arm: list[ArmSummary]) -> list[str]:
    """The final table's lines."""
    head = ("arm", "round", "start", "final", "", "labels", "kept", "per 100", "seconds")
    cells = [
        (
            short_arm(s.arm),
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
    return _columns([head, *cells])
