"""The report page: one HTML file with its figures inline, nothing external and no scripts."""

from collections import defaultdict
from html import escape
from typing import Any

from boostlm.report import plots
from boostlm.report.axes import SHADED
from boostlm.report.compare import ArmSummary, comparisons, summaries
from boostlm.report.conclusions import conclusions, group_leads
from boostlm.report.html import CSS, arm_name, broken, count, figure, html_table, section, theme
from boostlm.report.label_rate import rate_in_words
from boostlm.report.page_prompt_level import audit, collapse, pairs, pass_rates
from boostlm.report.run_data import COUNTS, RunData, is_number
from boostlm.report.wording import minus, percent, plus_minus, rate

FINAL_HEAD = (
    "arm", "start", "final accuracy", "labels bought", "labels kept",
    "points over filter_only per 100 labels bought", "seconds of training rounds",
)  # fmt: skip
THEORY_RATE = defaultdict(
    lambda: "Its labels are right as often as the audit found.",
    simulated="Its labels are right as often as the simulated labeler was told.",
    frozen_model="Its labels are right as often as the seed model is on each prompt.",
)
ROW_KEYS = (
    "arm", "seed", "round", "test_accuracy", "train_accuracy", "train_solved", "accepted",
    "labels_spent", "labels_kept", "distinct", "cut_off", "train_loss", "seconds",
)  # fmt: skip


def render_html(run: RunData) -> str:
    """The whole page. The same run gives the same bytes."""
    c = run.config
    title = f"{c['name']}: boostlm report"
    facts = (
        f"{c['data']['task']} \N{MIDDLE DOT} greedy accuracy on {c['data']['eval_prompts']:,} "
        f"{c['data']['eval_split']} prompts \N{MIDDLE DOT} {count(len(c['arms']), 'arm')}, "
        f"{count(c['rounds'], 'round')}, {count(c['seeds'], 'seed')} \N{MIDDLE DOT} "
        f"{count(c['label']['budget'], 'label')} a round, {rate_in_words(run)}"
    )
    if trusted := c["seed_model"]["examples"]:
        facts += f" \N{MIDDLE DOT} the seed model had {count(trusted, 'trusted label')}"
    if c["data"]["eval_split"] == "validation":
        facts += " \N{MIDDLE DOT} settings are still being chosen on this split"
    parts = [
        "<!DOCTYPE html>",
        '<html lang="en">\n<head>\n<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(title)}</title>\n<style>{theme()}{CSS}</style>",
        '</head>\n<body>\n<main>\n<p class="kicker">boostlm report</p>',
        f'<h1>{escape(str(c["name"]))}</h1>\n<p class="facts">{escape(facts)}</p>',
        *(write(run) for write in (_answer, _final_table, pairs, _accuracy, _groups, pass_rates)),
        *(write(run) for write in (_training_set, collapse, _labels, audit, _theory, _appendix)),
        "</main>\n</body>\n</html>\n",
    ]
    return "\n".join(part for part in parts if part)


def _answer(run: RunData) -> str:
    first, *more = conclusions(run)
    words = f'<p class="lead">{escape(minus(first))}</p>'
    if more:
        words += f'<p class="lead">{escape(minus(" ".join(more)))}</p>'
    found = comparisons(run)
    split = run.config["data"]["eval_split"]
    caption = (
        f"Differences of {split} accuracy, in points, after the last round both sides reached."
    )
    if any(c.estimate.n > 1 and c.estimate.half is not None for c in found):
        caption += (
            " Strokes: seeds. Diamond: their mean. Bar: its 95% interval over seeds and prompts; "
            "where it crosses the line at 0, the run does not settle the question."
        )
    picture = figure(plots.differences_plot(found), "differences", "", caption)
    question = "<h2>Did curation help here, and how much?</h2>"
    return f'<div class="answer"><div>{question}{words}</div>{picture}</div>'


def _final_table(run: RunData) -> str:
    of_arm = summaries(run)
    if not of_arm:
        return ""
    uneven = len({(s.round, s.final.n) for s in of_arm}) > 1
    lines = [_final_line(s, uneven) for s in of_arm]
    note = (
        "Labels, seconds and accuracies are means over seeds; \N{PLUS-MINUS SIGN} is half the 95% "
        + (
            "interval over seeds and prompts, in points."
            if any(s.final.n > 1 for s in of_arm)
            else "interval over prompts, for this seed's models, in points."
        )
        if any(s.final.half is not None for s in of_arm)
        else "The answers are not all on disk, so there are no intervals."
    )
    return f'{html_table(FINAL_HEAD, lines)}<p class="note">{note}</p>'


def _final_line(s: ArmSummary, uneven: bool) -> list[str]:
    reached = f'<br><span class="soft">round {s.round}, {count(s.final.n, "seed")}</span>'
    cells = (
        "\N{EN DASH}" if s.start is None else percent(s.start.mean),
        f'<strong>{percent(s.final.mean)}</strong> <span class="soft">{plus_minus(s.final)}</span>',
        f"{s.labels:,.0f}",
        f"{s.kept:,.0f}",
        "\N{EN DASH}" if s.gain_per_100 is None else minus(rate(s.gain_per_100)),
        f"{s.seconds:,.0f}",
    )
    return [arm_name(s.arm) + (reached if uneven else ""), *cells]


def _accuracy(run: RunData) -> str:
    split = run.config["data"]["eval_split"]
    how = f"Share of the {split} prompts answered correctly, greedily. Round 0 is the seed model, "
    how += "the same for every arm."
    if len(run.seeds) > 1:
        how += " Thick lines are means over seeds, thin ones single seeds"
        how += ", shades 95% t-intervals." if len(run.seeds) >= SHADED else "."
    by_round = plots.arms_by(run, "test_accuracy")
    by_labels = plots.arms_by(run, "test_accuracy", "labels_spent")
    cost = "The same accuracies against what they cost. Dashed: an arm that buys no labels, at its "
    cost += "final level. The further left a curve crosses that level, the cheaper the gain."
    return section(
        "Accuracy",
        [
            figure(by_round, "rounds", f"{split.capitalize()} accuracy by round", how),
            figure(by_labels, "labels", f"{split.capitalize()} accuracy by labels bought", cost),
        ],
    )


def _groups(run: RunData) -> str:
    how = "Each mark is an arm after its last round, in the colours and shapes of the table. Its "
    how += "line starts at the long tick, where the seed model was: to the right of it are gains, "
    how += "to the left losses. " + minus(group_leads(run))
    return section(
        "Who gained where",
        [figure(plots.final_by_group(run), "groups", "Final accuracy by group", how)],
        "beside",
    )


def _training_set(run: RunData) -> str:
    k = run.config["sample"]["k"]
    return section(
        "What the loop did to the training set",
        [
            figure(
                plots.arms_by(run, "train_solved"),
                "solved",
                "Training prompts solved",
                f"Share of the training prompts with an accepted response among {k}. The others "
                "add nothing to self-training: filter_only gains on them only by generalising, and "
                "labels can reach them.",
            ),
            figure(
                plots.arms_by(run, "distinct"),
                "diversity",
                "Diversity of answers",
                f"Distinct responses among {k} to a prompt, as a share of {k}: 100% if all differ, "
                f"{100 / k:.3g}% if all are the same. Less diversity with no gain in accuracy is "
                "collapse; with a gain it is a model making up its mind.",
            ),
        ],
    )


def _labels(run: RunData) -> str:
    beta = run.config["label"]["beta"]
    last = max((row["round"] for row in run.rows if row["arm"] == "boosting"), default=0)
    return section(
        "Where boosting pointed its labels",
        [
            figure(
                plots.weight_by_group(run, "boosting"),
                "weights",
                "Difficulty weight by group",
                "Share of boosting's difficulty weight in each group after each round; every "
                "column adds up to 100%. The weight decides where labels go: a row whose "
                "colour grows stronger holds the prompts that keep failing.",
            ),
            figure(
                plots.weight_by_failures(run, "boosting"),
                "failures",
                f"Prompts and weight by failed rounds, after round {last}",
                "Grey: share of the training prompts. Green: share of the difficulty weight. Every "
                f"failed round multiplies a prompt's weight by 1/(1 \N{MINUS SIGN} beta) = "
                f"{1 / (1 - beta):.3g}, with beta = {beta:g} as set by label.beta, before all are "
                "scaled to sum to 1.",
            ),
        ],
    )


def _theory(run: RunData) -> str:
    return section(
        "Theory and measurement",
        [
            figure(plots.predicted(run, arm), f"theory-{i}", arm, "")
            for i, arm in enumerate(run.arms)
        ],
        "four",
        "Share of the samples on training prompts that are correct. Dashed, with a band that holds "
        "90%: predicted for an ideal learner that reproduces its training data exactly and does "
        "not generalise between prompts. It starts from the verdicts on the seed model's samples; "
        "how often each prompt is answered is inferred from them with a fitted prior. "
        + THEORY_RATE[run.config["label"]["labeler"]]
        + " Measured above the band: training on some prompts helped on others. Below: the model "
        "did not learn all of its training data.",
    )


def _appendix(run: RunData) -> str:
    head = "".join(f"<th>{broken(key.replace('_', ' '))}</th>" for key in ROW_KEYS)
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
