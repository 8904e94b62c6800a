"""The report page: one HTML file with its figures inline, nothing external and no scripts."""

import re
import textwrap
from html import escape
from typing import Any

from boostlm.config import ARMS
from boostlm.report import plots
from boostlm.report.run_data import COUNTS, RunData, is_number
from boostlm.report.table import (
    ArmSummary,
    band_leads,
    comparisons,
    minus,
    percent,
    plus_minus,
    rate,
    summaries,
    verdicts,
)

FINAL_HEAD = (
    "arm", "start", "final accuracy", "labels bought", "labels kept",
    "points over filter_only per 100 labels bought", "seconds of training rounds",
)  # fmt: skip
ROW_KEYS = (
    "arm", "seed", "round", "test_accuracy", "train_accuracy", "train_solved", "accepted",
    "labels_spent", "labels_kept", "distinct", "cut_off", "train_loss", "seconds",
)  # fmt: skip
MARKS = dict(zip(ARMS, ("&#9679;", "&#9632;", "&#9650;", "&#9670;")))  # the shapes in the plots

CSS = """
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%;color-scheme:light dark}
body{margin:0;background:var(--paper);color:var(--ink);
 font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif}
main{max-width:1120px;margin:0 auto;padding:56px 24px 72px}
h1,h2,h3,p,figure{margin:0}
h1{font-size:34px;line-height:1.2;letter-spacing:-.01em}
h2{font-size:21px;line-height:1.3;margin:72px 0 20px}
h3{font-size:16px;line-height:1.35;margin-bottom:10px}
h1,.facts,.lead,figcaption,.config td{overflow-wrap:anywhere}
.kicker,.facts,.note,.soft,figcaption,thead th,.lead+.lead{color:var(--muted);font-size:14px}
.kicker{margin-bottom:6px}.facts,.note{margin-top:10px}
.answer,.beside figure{display:grid;grid-template-columns:3fr 2fr;gap:0 64px}
.answer{align-items:center}.answer h2{margin-top:40px}.beside h3{grid-column:1/-1}
.lead{font-size:20px;line-height:1.5}.lead+.lead{font-size:16px;line-height:1.6;margin-top:14px}
.pair{display:grid;grid-template-columns:repeat(2,minmax(0,1fr));gap:44px 64px}
.four{display:grid;grid-template-columns:repeat(auto-fit,minmax(235px,1fr));gap:28px 40px}
.four figure{max-width:300px}
figure{break-inside:avoid;min-width:0}
figcaption{line-height:1.5;margin-top:8px;max-width:62ch}
svg{display:block;width:100%;height:auto;overflow:visible;stroke-linejoin:round}
.scroll{overflow-x:auto}
table{border-collapse:collapse;font-variant-numeric:tabular-nums}
th,td{text-align:right;padding:7px 0 7px 22px;white-space:nowrap;font-weight:400}
th:first-child,td:first-child{text-align:left;padding-left:0}
thead th{line-height:1.3;vertical-align:bottom}thead th,.soft{font-size:13px}
tbody tr{border-top:1px solid var(--grid)}
.final{width:100%;margin-top:40px}.final tbody th{font-weight:600}.final .soft{font-weight:400}
details{border-top:1px solid var(--grid);padding:14px 0}
details:last-of-type{border-bottom:1px solid var(--grid)}
summary{cursor:pointer;font-weight:600}
details .scroll,.config{margin-top:14px;font-size:13px}
details th,details td{padding:3px 0 3px 16px}
.config{columns:3 260px;column-gap:48px}
.config table{width:100%;margin-bottom:14px;break-inside:avoid}.config td+td{white-space:normal}
.config .group{text-align:left;padding:6px 0 3px;font-weight:600}
.config tr tr{border-top:0}.config .nested{padding:0 0 0 14px}.config .nested table{margin:0}
@media (max-width:760px){main{padding:32px 20px 48px}h1{font-size:27px}h2{margin-top:52px}
 .answer,.pair,.four,.beside figure{grid-template-columns:minmax(0,1fr)}.lead{font-size:18px}
 .answer figure{margin-top:28px}.final thead{display:none}
 .final,.final tbody{display:block}.final tr{display:block;padding:10px 0}
 .final th,.final td{display:flex;gap:6px;padding:1px 0;white-space:normal;font-size:15px}
 .final td::before{content:attr(data-name);color:var(--muted);flex:1;text-align:left}}
@media print{main{padding:0;max-width:none}h2{margin-top:36px;break-after:avoid}}
"""


def render_html(run: RunData) -> str:
    """The whole page. The same run gives the same bytes."""
    c = run.config
    title = f"{c['name']}: boostlm report"
    facts = (
        f"{c['data']['task']} \N{MIDDLE DOT} greedy accuracy on {c['data']['eval_prompts']:,} "
        f"{c['data']['eval_split']} prompts \N{MIDDLE DOT} {_count(len(c['arms']), 'arm')}, "
        f"{_count(c['rounds'], 'round')}, {_count(c['seeds'], 'seed')} \N{MIDDLE DOT} "
        f"{_count(c['label']['budget'], 'label')} a round, {c['label']['beta']:.0%} of them right"
    )
    if c["data"]["eval_split"] == "validation":
        facts += " \N{MIDDLE DOT} settings are still being chosen on this split"
    parts = [
        "<!DOCTYPE html>",
        '<html lang="en">\n<head>\n<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(title)}</title>\n<style>{_theme()}{CSS}</style>",
        '</head>\n<body>\n<main>\n<p class="kicker">boostlm report</p>',
        f'<h1>{escape(str(c["name"]))}</h1>\n<p class="facts">{escape(facts)}</p>',
        *(write(run) for write in (_answer, _final_table, _accuracy, _bands)),
        *(write(run) for write in (_training_set, _labels, _theory, _appendix)),
        "</main>\n</body>\n</html>\n",
    ]
    return "\n".join(part for part in parts if part)


def _theme() -> str:
    """The colours as CSS variables; print is light."""
    light = "".join(f"--{name}:{pair[0]};" for name, pair in plots.THEME.items())
    dark = "".join(f"--{name}:{pair[1]};" for name, pair in plots.THEME.items())
    return f"\n:root{{{light}}}\n@media screen and (prefers-color-scheme:dark){{:root{{{dark}}}}}"


def inline(svg: str, name: str, alt: str) -> str:
    """Makes an SVG file part of the page: themed, and with ids that are its own."""
    svg = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", svg, flags=re.DOTALL)  # meant for all
    opening = re.search(r'<svg[^>]*viewBox="([^"]*)"[^>]*>', svg)
    assert opening is not None
    body = svg[opening.end() :]
    body = re.sub(r' id="(?!m[0-9a-f]{10}")[^"]*"', "", body)  # only markers are referred to
    body = body.replace(' id="m', f' id="{name}-m').replace('xlink:href="#', f'href="#{name}-')
    body = re.sub(r" font-family: [^;\"]*;", "", body)
    for theme_name, (light, _) in plots.THEME.items():
        body = body.replace(f": {light}", f": var(--{theme_name})")
    body = re.sub(r"\n\s*", "\n", body)
    return f'<svg viewBox="{opening.group(1)}" role="img" aria-label="{escape(alt)}">{body.strip()}'


def _figure(svg: str | None, name: str, title: str, caption: str) -> str:
    if svg is None:
        return ""
    words = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    heading = f"<h3>{escape(title)}</h3>" if title else ""
    return f"<figure>{heading}{inline(svg, name, title or caption)}{words}</figure>"


def _section(title: str, figures: list[str], layout: str = "pair", note: str = "") -> str:
    """A titled group of figures; empty if there are none."""
    shown = "\n".join(figure for figure in figures if figure)
    after = f'<p class="note">{escape(note)}</p>' if note else ""
    return (
        f'<h2>{escape(title)}</h2>\n<div class="{layout}">\n{shown}\n</div>{after}' if shown else ""
    )


def _answer(run: RunData) -> str:
    first, *more = verdicts(run)
    words = f'<p class="lead">{escape(minus(first))}</p>'
    if more:
        words += f'<p class="lead">{escape(minus(" ".join(more)))}</p>'
    found = comparisons(run)
    split = run.config["data"]["eval_split"]
    caption = (
        f"Differences of {split} accuracy, in points, after the last round both sides reached."
    )
    if any(c.estimate.n > 1 for c in found):
        caption += (
            " Strokes: seeds. Diamond: their mean. Bar: its 95% t-interval; where it crosses the "
            "line at 0, the run does not settle the question."
        )
    figure = _figure(plots.differences(found), "differences", "", caption)
    question = "<h2>Did curation help here, and how much?</h2>"
    return f'<div class="answer"><div>{question}{words}</div>{figure}</div>'


def _arm_name(arm: str) -> str:
    ink = arm if arm in MARKS else "muted"
    return f'<span style="color:var(--{ink})">{MARKS.get(arm, "&#9679;")}</span> {escape(arm)}'


def _final_table(run: RunData) -> str:
    of_arm = summaries(run)
    if not of_arm:
        return ""
    uneven = len({(s.round, s.final.n) for s in of_arm}) > 1
    lines = [_final_line(s, uneven) for s in of_arm]
    note = (
        "Labels, seconds and accuracies are means over seeds; \N{PLUS-MINUS SIGN} is half the 95% "
        "t-interval of the mean, in points."
        if any(s.final.half is not None for s in of_arm)
        else "One seed, so no intervals."
    )
    titles = "".join(f'<th scope="col">{_broken(t)}</th>' for t in FINAL_HEAD)
    return (
        f'<div class="scroll"><table class="final"><thead><tr>{titles}</tr></thead>'
        f'<tbody>{"".join(lines)}</tbody></table></div><p class="note">{note}</p>'
    )


def _broken(title: str) -> str:
    return "<br>".join(escape(line) for line in textwrap.wrap(title, 14))


def _final_line(s: ArmSummary, uneven: bool) -> str:
    reached = f'<br><span class="soft">round {s.round}, {_count(s.final.n, "seed")}</span>'
    cells = (
        "\N{EN DASH}" if s.start is None else percent(s.start.mean),
        f'<strong>{percent(s.final.mean)}</strong> <span class="soft">{plus_minus(s.final)}</span>',
        f"{s.labels:,.0f}",
        f"{s.kept:,.0f}",
        "\N{EN DASH}" if s.gain_per_100 is None else minus(rate(s.gain_per_100)),
        f"{s.seconds:,.0f}",
    )
    name = _arm_name(s.arm) + (reached if uneven else "")
    named = zip(FINAL_HEAD[1:], cells, strict=True)  # a phone shows the names beside the values
    shown = "".join(f'<td data-name="{title}">{cell}</td>' for title, cell in named)
    return f'<tr><th scope="row">{name}</th>{shown}</tr>'


def _accuracy(run: RunData) -> str:
    split = run.config["data"]["eval_split"]
    how = f"Share of the {split} prompts answered correctly, greedily. Round 0 is the seed model, "
    how += "the same for every arm."
    if len(run.seeds) > 1:
        how += " Thick lines are means over seeds, thin ones single seeds, shades 95% t-intervals."
    by_round = plots.arms_by(run, "test_accuracy")
    by_labels = plots.arms_by(run, "test_accuracy", "labels_spent")
    cost = "The same accuracies against what they cost. Dashed: an arm that buys no labels, at its "
    cost += "final level. The further left a curve crosses that level, the cheaper the gain."
    return _section(
        "Accuracy",
        [
            _figure(by_round, "rounds", f"{split.capitalize()} accuracy by round", how),
            _figure(by_labels, "labels", f"{split.capitalize()} accuracy by labels bought", cost),
        ],
    )


def _bands(run: RunData) -> str:
    how = "Each mark is an arm after its last round, in the colours and shapes of the table. Its "
    how += "line starts at the long tick, where the seed model was: to the right of it are gains, "
    how += "to the left losses. " + minus(band_leads(run))
    return _section(
        "Who gained where",
        [_figure(plots.final_by_band(run), "bands", "Final accuracy by band", how)],
        "beside",
    )


def _training_set(run: RunData) -> str:
    k = run.config["sample"]["k"]
    return _section(
        "What the loop did to the training set",
        [
            _figure(
                plots.arms_by(run, "train_solved"),
                "solved",
                "Training prompts solved",
                f"Share of the training prompts with an accepted response among {k}. What stays "
                "unsolved teaches nothing by self-training alone: there filter_only levels off, "
                "and there labels can help.",
            ),
            _figure(
                plots.arms_by(run, "distinct"),
                "variety",
                "Variety of answers",
                f"Distinct responses among {k} to a prompt, as a share of {k}: 100% if all differ, "
                f"{100 / k:.3g}% if all are the same. Less variety with no gain in accuracy is "
                "collapse; with a gain it is a model making up its mind.",
            ),
        ],
    )


def _labels(run: RunData) -> str:
    beta = run.config["label"]["beta"]
    last = max((row["round"] for row in run.rows if row["arm"] == "boosting"), default=0)
    return _section(
        "Where boosting pointed its labels",
        [
            _figure(
                plots.weight_by_band(run, "boosting"),
                "weights",
                "Difficulty weight by band",
                "Share of boosting's difficulty weight in each band after each round; every column "
                "adds up to 100%. The weight decides where labels go: a row whose colour grows "
                "stronger holds the prompts that keep failing.",
            ),
            _figure(
                plots.weight_by_failures(run, "boosting"),
                "failures",
                f"Prompts and weight by failed rounds, after round {last}",
                "Grey: share of the training prompts. Green: share of the difficulty weight. Every "
                f"failed round multiplies a prompt's weight by 1/(1 \N{MINUS SIGN} beta) = "
                f"{1 / (1 - beta):.3g} before all are scaled to sum to 1.",
            ),
        ],
    )


def _theory(run: RunData) -> str:
    return _section(
        "Theory and measurement",
        [
            _figure(plots.predicted(run, arm), f"theory-{i}", arm, "")
            for i, arm in enumerate(run.arms)
        ],
        "four",
        "Share of the samples on training prompts that are correct. Dashed: predicted for an ideal "
        "learner that reproduces what it is shown and does not generalise between prompts. "
        "Measured above predicted: what it learnt on some prompts helped on others. Below: it did "
        "not learn all it was shown.",
    )


def _appendix(run: RunData) -> str:
    head = "".join(f"<th>{_broken(key.replace('_', ' '))}</th>" for key in ROW_KEYS)
    order = {arm: i for i, arm in enumerate(run.arms)}
    rows = sorted(run.rows, key=lambda r: (order[r["arm"]], r["seed"], r["round"]))
    lines = "\n".join(
        f"<tr>{''.join(f'<td>{_cell(key, row[key])}</td>' for key in ROW_KEYS)}</tr>"
        for row in rows
    )
    table = f"<table><thead><tr>{head}</tr></thead><tbody>\n{lines}\n</tbody></table>"
    plain = {key: value for key, value in run.config.items() if not isinstance(value, dict)}
    groups = {"run": plain, **{k: v for k, v in run.config.items() if isinstance(v, dict)}}
    config = "".join(_config_table(name, settings) for name, settings in groups.items())
    return (
        "<h2>Details</h2>\n<details><summary>Settings of this run</summary>"
        f'<div class="config">{config}</div></details>\n'
        f'<details><summary>Every arm, seed and round</summary><div class="scroll">{table}</div>'
        "</details>"
    )


def _cell(key: str, value: Any) -> str:
    if value is None:
        return "\N{EN DASH}"
    if key in ("train_loss", "seconds") and is_number(value):
        return f"{value:,.3f}" if key == "train_loss" else f"{value:,.1f}"
    if key in COUNTS:
        return f"{value:,}"
    return percent(value) if is_number(value) else escape(str(value))


def _config_table(title: str, settings: dict[str, Any]) -> str:
    rows = [f'<tr><th class="group" colspan="2">{escape(title)}</th></tr>']
    for key, value in settings.items():
        if isinstance(value, dict):
            rows.append(f'<tr><td class="nested" colspan="2">{_config_table(key, value)}</td></tr>')
        else:
            value = f"{value:.6g}" if isinstance(value, float) else value
            shown = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
            rows.append(f"<tr><td>{escape(str(key))}</td><td>{escape(shown)}</td></tr>")
    return f"<table><tbody>{''.join(rows)}</tbody></table>"


def _count(n: int, word: str) -> str:
    return f"{n:,} {word}{'s' * (n != 1)}"
