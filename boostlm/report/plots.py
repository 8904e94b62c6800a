"""The report's figures: SVG for the page, one PNG for a README.

Lengths are in points. Most figures are 360 wide, which keeps their text legible both on a phone and
in half a page. Colours are the light theme's; the page swaps them by name (`THEME`).
"""

import math
from collections.abc import Sequence
from functools import partial
from itertools import product
from typing import cast

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, MaxNLocator

from boostlm.report.axes import SHADED, axis_limits, spread_labels
from boostlm.report.compare import Comparison
from boostlm.report.plot_style import (
    BAR,
    GRID,
    INK,
    LEFT,
    MUTED,
    PAPER,
    RIGHT,
    SMALL,
    bare,
    colour_of,
    figure_style,
    marker_of,
    new_figure,
    save_figure,
    svg_of,
)
from boostlm.report.run_data import RunData, mean_shares
from boostlm.report.wording import minus, percent, points, short_arm, short_name
from boostlm.statistics.intervals import mean_interval


def _end_labels(ax: Axes, ends: Sequence[tuple[float, float, str, str]]) -> None:
    """Labels (x, y, text, colour) right of the axes, nudged apart, each tied to its point."""
    inches, box = cast(Figure, ax.get_figure()).get_size_inches(), ax.get_position()
    width, height = 72 * inches[0] * box.width, 72 * inches[1] * box.height
    (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
    x_pt = [(min(x, right) - left) / (right - left) * width for x, _, _, _ in ends]
    y_pt = [(y - bottom) / (top - bottom) * height for _, y, _, _ in ends]
    placed = spread_labels(y_pt, 1.3 * matplotlib.rcParams["font.size"], 0.0, height)
    for x, y, at, (_, _, label, ink) in zip(x_pt, y_pt, placed, ends, strict=True):
        tie = [(x + 4) / width, 1 + 9 / width], [y / height, at / height]
        ax.plot(*tie, color=ink, linewidth=0.6, alpha=0.6, transform=ax.transAxes)
        where = (1 + 11 / width, at / height, label)
        ax.text(*where, color=ink, weight="bold", va="center", transform=ax.transAxes)


def _limits(run: RunData, field: str, extra: Sequence[float] = ()) -> tuple[float, float]:
    tables = [run.by_round(arm, field) for arm in run.arms]
    return axis_limits([list(of_seed.values()) for t in tables for of_seed in t.values()], extra)


def _scale(ax: Axes, axis: str, limits: tuple[float, float], unit: str = "%") -> None:
    """An axis of fractions, in per cent or points."""
    ax.set(**{f"{axis}lim": limits})
    which = ax.yaxis if axis == "y" else ax.xaxis
    which.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    which.set_major_formatter(FuncFormatter(lambda v, _: minus(f"{round(100 * v, 6) + 0:g}{unit}")))


def _count_axis(ax: Axes, last: float, label: str) -> None:
    ax.set(xlim=(0, max(last, 1)), xlabel=label)
    ax.xaxis.set_major_locator(MaxNLocator(8 if label == "round" else 4, integer=True))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:,.0f}"))


def _draw_arms(ax: Axes, run: RunData, field: str, x_field: str) -> None:
    """One line an arm: the mean, the seeds behind it, the interval of enough seeds around it."""
    limits, ends = _limits(run, field), []
    for arm in run.arms:
        table, x_of, ink = run.by_round(arm, field), run.by_round(arm, x_field), colour_of(arm)
        if not table:
            continue
        estimates = [mean_interval(list(of_seed.values())) for of_seed in table.values()]
        x = [sum(x_of[r][s] for s in of_seed) / len(of_seed) for r, of_seed in table.items()]
        y = [e.mean for e in estimates]
        unlabeled = x_field != "round" and max(x) == 0
        end_x = math.inf if unlabeled else x[-1]
        ends.append((end_x, y[-1], f"{short_arm(arm)} {percent(y[-1])}", ink))
        if unlabeled:  # no curve, but the level where the arm ended, to compare with
            ax.axhline(y[-1], color=ink, linewidth=1.2, linestyle=(0, (4, 3)))
            continue
        for seed in sorted({seed for of_seed in table.values() for seed in of_seed}):
            line = [(x_of[r][seed], values[seed]) for r, values in table.items() if seed in values]
            ax.plot(*zip(*line), color=ink, linewidth=0.8, alpha=0.35)
        group = [
            (a, e.low, e.high)
            for a, e in zip(x, estimates, strict=True)
            if e.n >= SHADED and e.low is not None and e.high is not None
        ]
        if group:
            low, high = ([min(max(b[i], limits[0]), limits[1]) for b in group] for i in (1, 2))
            ax.fill_between([b[0] for b in group], low, high, color=ink, alpha=0.12, linewidth=0)
        shown = slice(None) if len(x) <= 13 else slice(-1, None)
        ax.plot(x, y, color=ink, linewidth=2.2)
        ax.plot(x[shown], y[shown], marker_of(arm), color=ink, markersize=4)
    _scale(ax, "y", limits)
    last = max((x for x, *_ in ends if x < math.inf), default=1)
    _count_axis(ax, last, "round" if x_field == "round" else "labels bought")
    _end_labels(ax, ends)


def _can_draw(run: RunData, field: str, x_field: str = "round") -> bool:
    x_is_there = x_field == "round" or any(row[x_field] for row in run.rows)
    return x_is_there and any(run.by_round(arm, field) for arm in run.arms)


def arms_by(run: RunData, field: str, x_field: str = "round") -> str | None:
    """A fraction of every arm against the round or a count; None if there is nothing to draw."""
    if not _can_draw(run, field, x_field):
        return None
    with figure_style():
        figure, ax = new_figure(190, LEFT, RIGHT)
        _draw_arms(ax, run, field, x_field)
        return svg_of(figure)


def _draw_predicted(ax: Axes, run: RunData, arm: str) -> None:
    """One arm's training accuracy as measured (solid) and predicted (dashed, with its band)."""
    found = [p for a in run.arms if (p := run.predicted_by_round(a)) is not None]
    ends, last = [], 0
    if (p := run.predicted_by_round(arm)) is not None:
        x = list(range(len(p.mean)))
        ax.fill_between(x, p.low, p.high, color=MUTED, alpha=0.2, linewidth=0)
        ends.append((x, p.mean, "predicted", MUTED, "--"))
    if table := run.by_round(arm, "train_accuracy"):
        means = [sum(of_seed.values()) / len(of_seed) for of_seed in table.values()]
        ends.append((list(table), means, "measured", colour_of(arm), "-"))
    labels = []
    for x, y, name, ink, dashes in ends:
        ax.plot(x, y, color=ink, linewidth=2, linestyle=dashes)
        labels.append((x[-1], y[-1], f"{name} {100 * y[-1]:.0f}%", ink))
        last = max(last, x[-1])
    everything = [v for p in found for v in (*p.low, *p.high)]
    _scale(ax, "y", _limits(run, "train_accuracy", everything))  # one scale for all arms
    _count_axis(ax, last, "round")
    _end_labels(ax, labels)


def predicted(run: RunData, arm: str) -> str | None:
    """The theory's training accuracy beside the measured one; None if one of them is missing."""
    if not run.by_round(arm, "train_accuracy") or run.predicted_by_round(arm) is None:
        return None
    with figure_style():
        figure, ax = new_figure(105, 32, 88, width=220)
        _draw_predicted(ax, run, arm)
        return svg_of(figure)


def differences_plot(found: Sequence[Comparison]) -> str | None:
    """The verdict as a picture: every seed's difference, their mean, its interval, and 0."""
    ends = [v for c in found for v in (*c.differences, c.estimate.low, c.estimate.high) if v]
    if not ends:
        return None
    low, high = max(-1.0, min(0.0, *ends)), min(1.0, max(0.0, *ends))
    with figure_style():
        figure, ax = new_figure(40.0 * len(found), 10, 10, width=290)
        bare(ax, "x").set(ylim=(len(found), 0), yticks=[], xlabel="points of accuracy")
        _scale(ax, "x", (low - 0.04 * (high - low), high + 0.04 * (high - low)), unit="")
        for row, c in enumerate(found):
            ink, e, y = colour_of(c.first), c.estimate, row + 0.7
            ax.vlines(0, y - 0.2, y + 0.2, color=INK, linewidth=1.4)
            words = {"color": ink, "weight": "bold", "transform": ax.get_yaxis_transform()}
            ax.text(0, row + 0.38, f"{c.first} \N{MINUS SIGN} {c.second}", **words)
            ax.text(1, row + 0.38, minus(points(e.mean)), ha="right", **words)
            if e.low is not None and e.high is not None:
                left = max(e.low, -1)
                ax.barh(y, min(e.high, 1) - left, 0.12, left, color=ink, alpha=0.3)
                ax.plot(c.differences, [y] * e.n, "|", color=ink, markersize=9)
            ax.plot([e.mean], [y], "D", color=ink, markersize=5)
        return svg_of(figure)


def _names(ax: Axes, names: Sequence[str]) -> None:
    ax.set_ylim(len(names), 0)
    ax.set_yticks([i + 0.5 for i in range(len(names))], [short_name(name) for name in names])
    ax.tick_params(axis="y", labelsize=SMALL, labelcolor=INK)


def _names_width(names: Sequence[str]) -> float:
    lines = [line for name in names for line in short_name(name).split("\n")]
    return 14 + 0.62 * SMALL * max(map(len, lines), default=0)


def weight_by_group(run: RunData, arm: str) -> str | None:
    """The difficulty weight of each group after each round: the more, the stronger the colour."""
    rounds = sorted({row["round"] for row in run.rows if row["arm"] == arm})
    rows = [[r for r in run.rows if r["arm"] == arm and r["round"] == n] for n in rounds]
    columns = [mean_shares([row["weight_by_group"] for row in of_round]) for of_round in rows]
    groups = [group for group in run.groups if any(group in shares for shares in columns)]
    most = max((share for shares in columns for share in shares.values()), default=0)
    if most <= 0:
        return None
    with figure_style():
        figure, ax = new_figure(
            max(26.0 * len(groups), 60), _names_width(groups), 8 if len(rounds) <= 8 else 34
        )
        ax.grid(visible=False)
        _names(ax, groups)
        for x, y in product(range(len(rounds)), range(len(groups))):
            share = columns[x].get(groups[y], 0.0)
            alpha = 0.05 + 0.95 * share / most
            box = Rectangle(
                (x + 0.02, y + 0.04), 0.96, 0.92, color=colour_of(arm), alpha=alpha, lw=0
            )
            ax.add_patch(box)
            if len(rounds) <= 8:
                words = {"fontsize": SMALL, "color": PAPER if alpha > 0.7 else INK}
                ax.text(x + 0.5, y + 0.5, f"{share:.0%}", ha="center", va="center", **words)
            elif x == len(rounds) - 1:
                ax.text(x + 1.15, y + 0.5, f"{share:.0%}", va="center", fontsize=SMALL)
        shown = range(0, len(rounds), -(-len(rounds) // 8))
        ax.set_xticks([i + 0.5 for i in shown], [str(rounds[i]) for i in shown])
        ax.set(xlim=(0, len(rounds)), xlabel="round")
        return svg_of(figure)


def weight_by_failures(run: RunData, arm: str) -> str | None:
    """Shares of the prompts and of the weight by failed rounds, after the arm's last round."""
    rows = [r for r in run.last_rows(arm) if r["weight_by_failures"] and r["prompts_by_failures"]]
    weight = mean_shares([dict(enumerate(row["weight_by_failures"])) for row in rows])
    prompts = mean_shares([dict(enumerate(row["prompts_by_failures"])) for row in rows])
    if not any(prompts.values()):
        return None
    last = max(f for f, count in prompts.items() if count)
    tail = min(last, 7)  # this and all above are one line
    names = ["never failed", *(f"failed {f} round{'s' * (f > 1)}" for f in range(1, tail + 1))]
    names[tail] += " or more" if tail < last else ""
    bars = [[0.0] * len(names), [0.0] * len(names)]
    for bar, part in zip(bars, (prompts, weight), strict=True):
        for f, share in part.items():
            bar[min(f, tail)] += share / (sum(part.values()) or 1)
    most = max(map(max, bars))
    with figure_style():
        figure, ax = new_figure(30.0 * len(names), _names_width(names), 40, bottom=6)
        ax.grid(visible=False)
        _names(ax, names)
        for bar, ink, at in zip(bars, (BAR, colour_of(arm)), (0.3, 0.66), strict=True):
            ax.barh([y + at for y in range(len(names))], bar, height=0.32, color=ink)
            for y, share in enumerate(bar):
                ax.text(share + 0.015 * most, y + at, f"{share:.0%}", va="center", fontsize=SMALL)
        ax.set(xlim=(0, most), xticks=[])
        return svg_of(figure)


def final_by_group(run: RunData) -> str | None:
    """Every arm's final accuracy in every group, with a line from where the seed model was."""
    final = {arm: mean_shares([r["eval_by_group"] for r in run.last_rows(arm)]) for arm in run.arms}
    start = mean_shares([r["eval_by_group"] for r in run.rows if r["round"] == 0])
    groups = [
        group for group in run.groups if any(group in of_group for of_group in final.values())
    ]
    if not groups:
        return None
    most = max(v for of_group in (start, *final.values()) for v in of_group.values())
    with figure_style():
        figure, ax = new_figure((9.0 * len(run.arms) + 10) * len(groups), _names_width(groups), 14)
        _names(bare(ax, "x"), groups)
        _scale(ax, "x", (0, max(0.1, most)))
        ax.hlines(range(1, len(groups)), *ax.get_xlim(), color=GRID, linewidth=0.8)
        for (y, group), (i, arm) in product(enumerate(groups), enumerate(run.arms)):
            at, ink = y + 0.12 + 0.76 * (i + 0.5) / len(run.arms), colour_of(arm)
            if group in final[arm]:
                ax.hlines(at, start.get(group, final[arm][group]), final[arm][group], color=ink)
                ax.plot(final[arm][group], at, marker_of(arm), color=ink, markersize=5)
        for y, group in enumerate(groups):
            ax.vlines(start.get(group, []), y + 0.1, y + 0.9, color=INK, linewidth=1.4)
        ax.set_xlabel(f"{run.config['data']['eval_split']} accuracy")
        return svg_of(figure)


def summary_png(run: RunData) -> bytes:
    """A wide picture for a README: accuracy by round and by labels, theory beside measurement."""
    arm = "boosting" if "boosting" in run.arms else (*run.arms, "")[-1]
    accuracy = partial(_draw_arms, run=run, field="test_accuracy")
    panels = [("Accuracy by round", partial(accuracy, x_field="round"))]
    if _can_draw(run, "test_accuracy", "labels_spent"):
        panels.append(("Accuracy against labels bought", partial(accuracy, x_field="labels_spent")))
    if predicted(run, arm) is not None:
        panels.append((f"{arm} on training prompts", partial(_draw_predicted, run=run, arm=arm)))
    with figure_style(11.0):
        figure = Figure(figsize=(4.4 * len(panels), 3.7), dpi=150, facecolor=PAPER)
        for i, (title, draw) in enumerate(panels):
            box = ((i + 0.12) / len(panels), 0.16, 0.46 / len(panels), 0.7)
            ax = bare(figure.add_axes(box))
            draw(ax)
            ax.set_title(title, loc="left", fontsize=12, weight="bold", pad=12)
        return save_figure(figure, "png")
