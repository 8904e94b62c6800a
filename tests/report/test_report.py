"""The report: what it claims, and that the page is whole, closed and the same every time."""

import json
import math
import re
from dataclasses import replace

import pytest
from support.report_run import GROUPS, Reader, exact_run, make_row, make_run

from boostlm.config import FOUR_ARMS
from boostlm.errors import BoostError
from boostlm.report.compare import compare, summaries
from boostlm.report.conclusions import conclusions, group_leads
from boostlm.report.page import render_html
from boostlm.report.plots import arms_by, summary_png
from boostlm.report.run_data import LATER, Prediction, RunData, parse_rows
from boostlm.report.terminal import final_table
from boostlm.report.wording import short_name

LONG = [f"multi-step word problems of quite a length & <b>markup</b> $x_{i}$" for i in range(12)]


def only(run, last):
    keep = [row for row in run.rows if row["round"] <= last.get((row["arm"], row["seed"]), -1)]
    return replace(run, rows=tuple(keep))


RUN = make_run()
ONLY_ROUND_0 = only(RUN, {(arm, 0): 0 for arm in FOUR_ARMS})
NO_ROWS = RunData(RUN.config, (), {})
ENDS = {("do_nothing", 0): 5, ("filter_only", 0): 5, ("uniform", 0): 5, ("boosting", 0): 4}
UNFINISHED = only(RUN, ENDS | {("do_nothing", 1): 5, ("filter_only", 1): 2})
NULLS = ("train_accuracy", "train_solved", "accepted", "distinct", "cut_off", "weight_by_group")
NOTHING = dict.fromkeys((*NULLS, "prompts_by_failures"))
NOTHING |= {"eval_by_group": {}, "weight_by_failures": []}
CASES = {
    "realistic": RUN,
    "one arm": make_run(arms=("boosting",), seeds=1, rounds=2),
    "long names": make_run(groups=LONG, seeds=2),
    "other scripts": make_run(groups=("加法", "об $x_1$", "a\nb"), seeds=1, rounds=1),
    "no prediction": replace(make_run(rounds=1), predicted={}),
    "one prediction": replace(
        make_run(rounds=1), predicted={0: {"boosting": Prediction([0.2], [0.1], [0.3])}}
    ),
    "no answers": replace(make_run(rounds=1), answered={}),
    "all zero": make_run(scale=0.0, seeds=1, rounds=2),
    "all right": exact_run([1.0, 1.0], [1.0, 1.0], start=1.0),
    "no labels": exact_run([0.3, 0.4], [0.3, 0.4], labels=0),
    "only round 0": ONLY_ROUND_0,
    "unfinished": replace(UNFINISHED, predicted={0: RUN.predicted[0]}),
    "nulls": RunData(RUN.config, tuple(row | NOTHING for row in RUN.rows), {}),
    "many rounds": make_run(arms=FOUR_ARMS[2:], seeds=2, rounds=40),
    "no rows": NO_ROWS,
}


QUICK = ("realistic", "unfinished", "no rows")


@pytest.fixture(
    scope="module",
    params=[pytest.param(n, marks=[pytest.mark.slow] * (n not in QUICK)) for n in CASES],
)
def case(request):
    return CASES[request.param], render_html(CASES[request.param])


LOW, HIGH = [0.40, 0.41, 0.42], [0.46, 0.47, 0.49]


@pytest.mark.parametrize(
    ("run", "index", "words"),
    [
        (exact_run(LOW, HIGH), 0, "Curation helped: after round 1 boosting is at 47.3% and "
         "filter_only at 41.0%, a difference of +6.3 points (95% interval +4.9 to +7.8, over 3 "),
        (exact_run(HIGH, LOW), 0, "Curation did harm: after .* -6.3 points (95% interval -7.8 to "),
        (exact_run([0.40, 0.41], [0.42, 0.47]), 0, "This run does not settle whether curation "
         "helped: .* +4.0 points (95% interval -19.2 to +27.2, over 2 seeds and the prompts)."),
        (exact_run(LOW, LOW), 0, "This run does not settle .* 0.0 points (95% interval -0.1 to +0.1"),
        (exact_run([0.4], [0.46]), 0, "This run does not settle .* +6.0 points (95% interval +4.5 to "
         "+7.5, for these two models). One seed tells nothing about what training again would give"),
        (replace(exact_run(LOW, HIGH), answered={}), 0, "This run does not settle .* +6.3 points. The "
         "answers of its models are not all on disk, so it has no interval."),
        (exact_run(LOW, HIGH, labels=0), 0, "Curation helped.* But boosting bought no labels"),
        (exact_run(LOW, HIGH, uniform=LOW), 1, "Spending .* hardest prompts was better.* +6.3 poi"),
        (exact_run(LOW, LOW, uniform=HIGH), 1, "Spending .* hardest prompts was worse.* -6.3 poi"),
        (exact_run(LOW, HIGH, uniform=[0.4, 0.6, 0.4]), 1, "Whether it matters .* stays open"),
        (exact_run(LOW, HIGH, do_nothing=[0.1, 0.11, 0.12]), 1, "do_nothing lost: from 20.0% to "
         "11.0%, -9.0 points (95% interval -11.2 to -6.8, over 3 seeds and the prompts), by train"),
        (exact_run(LOW, HIGH, do_nothing=LOW), 1, "do_nothing gained: from 20.0% to 41.0%"),
        (exact_run(LOW, HIGH, do_nothing=[0.1, 0.3, 0.2]), 1, "Whether do_nothing gained or lost stays open: it went"),
        (exact_run([0.1], [0.15]), 1, "No arm ended above the seed model's 20.0%; the best .* 15.0%"),
        (make_run(seeds=1, rounds=1, arms=("boosting",)), 0, "This run cannot say whether"),
        (ONLY_ROUND_0, 0, "No round of training is finished yet"),
        (NO_ROWS, 0, "This run has no results yet."),
    ],
)  # fmt: skip
def test_verdict(run, index, words):
    said = conclusions(run)
    assert re.match(re.escape(words).replace(r"\.\*", ".*").replace(r"\ ", " "), said[index])
    settled = ("Curation helped", "Curation did harm", "was better", "was worse", "do_nothing lost")
    assert len(run.seeds) != 1 or not any(words in " ".join(said) for words in settled)


def test_nothing_learnt_claims_nothing_else():
    for accuracy, words in ((0.0, "answered any"), (0.023, "answered more than 2.3%")):
        said = conclusions(exact_run([0.0] * 3, [accuracy] * 3, start=0.0, uniform=[0.0] * 3))
        expected = f"Nothing was learnt: no arm ever {words} of the test prompts correctly, so the "
        assert said == [expected + "comparison between arms means nothing."]
    assert "Nothing" not in conclusions(exact_run([0.0], [0.04], start=0.0))[0]


def test_unfinished_run_compares_the_same_round_and_the_same_seeds():
    late = {s.arm: s for s in summaries(only(RUN, ENDS | {("filter_only", 0): 2}))}
    assert late["boosting"].gain_per_100 is None  # filter_only has not got that far
    run, c = UNFINISHED, compare(UNFINISHED, "boosting", "filter_only")
    ours, theirs = (run.row(arm, 0, 4)["test_accuracy"] for arm in ("boosting", "filter_only"))
    assert (c.round, c.estimate.n) == (4, 1)
    assert c.estimate.mean == pytest.approx(ours - theirs, abs=1e-3)  # of 1,000 prompts
    assert compare(run, "do_nothing", "start").estimate.n == 2
    assert "pairs of arm and seed" not in conclusions(RUN)[-1]
    assert "4 of 12 pairs of arm and seed have reached round 5" in conclusions(run)[-1]
    seeds = [len(v) for v in run.by_round("filter_only", "test_accuracy").values()]
    assert seeds == [2, 2, 2, 1, 1, 1]
    assert list(run.by_round("boosting", "train_loss")) == [1, 2, 3, 4]


def test_summaries_and_leads():
    filter_only, boosting = summaries(exact_run([0.40, 0.42], [0.46, 0.50], labels=250))
    assert (boosting.start.mean, boosting.final.mean) == pytest.approx((0.2, 0.48))
    assert (boosting.labels, boosting.kept, boosting.seconds) == (250, 75, 12.5)
    assert (boosting.gain_per_100, filter_only.gain_per_100) == (pytest.approx(0.028), None)
    run = exact_run([0.4], [0.5])
    for row in run.rows:
        more = 0.4 * (row["arm"] == "boosting")
        row["eval_by_group"] = {"a": 0.5, "b": 0.5 + more, "c": 0.5 - more / 2}
    assert run.groups == (*GROUPS, "a", "b", "c")  # the training prompts' order first
    assert "from -20.0 points in c to +40.0 in b." in group_leads(run)
    assert group_leads(ONLY_ROUND_0) == group_leads(NO_ROWS) == ""


@pytest.mark.parametrize("name", CASES)
def test_terminal_table_fits_and_ends_with_the_verdicts(name):
    text = final_table(CASES[name])
    assert all(len(line) <= 80 for line in text.splitlines())
    assert " ".join(text.split()).endswith(" ".join(conclusions(CASES[name])))
    assert re.fullmatch(r"[ -~\n±]*", text)


def test_terminal_table_is_aligned_and_names_are_shortened():
    final = [0.4, 0.6]
    run = exact_run(final, final, labels=12_345_678, do_nothing=final, uniform=final)
    table = final_table(run).split("\n")
    assert [line.split()[0] for line in table[2:7]] == ["arm", *FOUR_ARMS]
    assert len({len(line) for line in table[2:7]}) == 1
    assert "50.0% ±119.0" in table[3]
    assert short_name("two  digit\naddition, carrying") == "two digit addition,\ncarrying"
    first, second = short_name(LONG[11]).split("\n")
    assert (first[:10], second[-6:]) == ("multi-step", "$x_11$")
    assert max(map(len, short_name("x" * 99).split("\n"))) <= 22


def jsonl(rows):
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def test_load_rows_reads_back_what_was_written():
    for rows in (UNFINISHED.rows, CASES["nulls"].rows, ()):
        assert parse_rows("\n" + jsonl(rows)) == rows
    old = {key: value for key, value in RUN.rows[0].items() if key not in LATER}
    assert parse_rows(jsonl([old])) == RUN.rows[:1]  # an older version's row
    odd = make_row("boosting", 0, 0, 0.5, groups=("a\u2028b",)) | {"later": 1, "accepted": 1.000001}
    assert parse_rows(jsonl([odd])) == (odd,)


@pytest.mark.parametrize(
    ("key", "value", "word"),
    [
        ("test_accuracy", None, "test_accuracy"), ("test_accuracy", 45.6, "test_accuracy"),
        ("test_accuracy", math.nan, "NaN"), ("seconds", math.inf, "Infinity"),
        ("distinct", -0.1, "distinct"), ("accepted", True, "accepted"), ("seed", "0", "seed"),
        ("round", -1, "round"), ("labels_spent", 1.5, "labels_spent"), ("arm", "", "arm"),
        ("eval_by_group", [0.1], "eval_by_group"), ("weight_by_group", {"a": "b"}, "weight_by_group"),
        ("weight_by_failures", {"0": 1}, "weight_by_failures"), ("train_loss", "low", "train_loss"),
        ("round", 0, "already on line 1"),
    ],
)  # fmt: skip
def test_load_rows_names_the_line_and_the_fault(key, value, word):
    rows = [make_row("boosting", 0, 0, 0.5), make_row("boosting", 0, 1, 0.5) | {key: value}]
    with pytest.raises(BoostError, match=rf"line 2: .*{word}"):
        parse_rows(jsonl(rows))
    for line in ("[1]", '{"arm": ', '{"arm": "boosting"}'):
        with pytest.raises(BoostError, match=r"line 3: (not an object|not JSON|no seed, round, )"):
            parse_rows(jsonl(rows[:1]) + "\n" + line)


def test_page_is_whole_and_fetches_nothing(case):
    run, page = case
    reader = Reader(page)
    assert {"script", "link", "img", "iframe", "image"}.isdisjoint(reader.tags)
    assert set(reader.links) <= {f"#{name}" for name in reader.ids}
    assert len(reader.ids) == len(set(reader.ids))
    assert not re.search(r"https?:|url\(|@import|//|<style type", page)
    assert not re.search(r"\b(nan|inf|NaN|None)\b", page)
    assert len(page.encode()) < 1_000_000
    text = " ".join(" ".join(reader.text).split()).replace("\N{MINUS SIGN}", "-")
    assert conclusions(run)[0] in text
    names = [" ".join(group.split()) for group in run.groups if len(group) < 20]
    assert all(f">{name}</text>" in page for name in names)
    assert page.split("Every arm, seed and round")[1].count("<tr>") == len(run.rows) + 1
    assert summary_png(run).startswith(b"\x89PNG")


def test_text_stays_inside_its_figure(case):
    """At the generous widths of DejaVu Sans; other fonts are narrower."""
    for width, svg in re.findall(r'<svg viewBox="0 0 (\S+) [^>]*>(.*?)</svg>', case[1], re.DOTALL):
        for style, x, text in re.findall(r'<text style="(.*?)" x="(.*?)"[^>]*>([^<]*)', svg):
            long = 0.6 * float(re.search(r"([\d.]+)px", style)[1]) * len(text)
            left = float(x) - long * (0.5 if "middle" in style else "text-anchor: end" in style)
            assert left > -3, text
            assert left + long < float(width) + 3 or "middle" in style, text


@pytest.mark.parametrize(("seeds", "shaded"), [(2, False), (3, True)])
def test_intervals_are_shaded_from_three_seeds_on(seeds, shaded):
    run = make_run(seeds=seeds, rounds=1)
    assert ("FillBetween" in arms_by(run, "test_accuracy")) == shaded
    assert ("shades 95%" in render_html(run)) == shaded


@pytest.mark.slow
def test_page_and_picture_are_the_same_every_time():
    assert render_html(make_run(seeds=2, rounds=2)) == render_html(make_run(seeds=2, rounds=2))
    assert summary_png(RUN) == summary_png(make_run())


@pytest.mark.slow
def test_page_has_every_figure_and_setting():
    run = make_run()
    run.config["data"] |= {"eval_split": "validation"}
    page = render_html(run)
    assert (page.count("<svg"), page.count("<figcaption>")) == (8 + len(FOUR_ARMS), 8)
    assert all(word in page for word in ("Theory and measure", "95% t-", "still being chosen"))
    assert "over 3 seeds and the prompts" in page
    assert all(word in page for word in ("false_accept_rate", "warmup_steps", ", ".join(FOUR_ARMS)))
    assert page.count("stroke-dasharray") == 2 + len(FOUR_ARMS)  # levels without labels, and theory
    assert page.count("Validation accuracy") > 1 > page.count("Test accuracy")
    assert "@media screen and (prefers-color-scheme:dark)" in page
    assert not re.search(r": #|font-family", page[page.index("<svg") :])  # colours are variables
    one_seed = render_html(replace(make_run(seeds=1, rounds=1), predicted={}))
    assert "interval over prompts, for this seed's models" in one_seed
    assert "Theory" not in one_seed


def test_everything_is_escaped():
    evil = '<script>alert("1")</script>&amp;'
    run = make_run(groups=(evil, "b"), seeds=1, rounds=1, name=evil, **{evil: {evil: (evil,)}})
    run.config["data"] |= {"path": evil, "task": evil}
    rows = (row | {"arm": evil} if row["arm"] == "uniform" else row for row in run.rows)
    page = render_html(replace(run, rows=tuple(rows)))
    assert "<script" not in page
    assert "".join(Reader(page).text).count(evil) >= 8
