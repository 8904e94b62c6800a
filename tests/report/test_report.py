"""The report: what it claims, and that the page is whole, closed and the same every time."""

import json
import math
import random
import re
from dataclasses import asdict, replace
from html.parser import HTMLParser

import pytest

from boostlm.config import ARMS, Config
from boostlm.errors import BoostError
from boostlm.report.compare import compare, summaries
from boostlm.report.page import render_html
from boostlm.report.plots import summary_png
from boostlm.report.run_data import LATER, RunData, parse_rows
from boostlm.report.terminal import final_table, group_leads, verdicts
from boostlm.report.wording import short_name

GROUPS = ("add", "reverse", "count", "sort", "compare", "carry")
LONG = [f"multi-step word problems of quite a length & <b>markup</b> $x_{i}$" for i in range(12)]
GOAL = {"do_nothing": 0.16, "filter_only": 0.45, "uniform": 0.55, "boosting": 0.64}


def make_row(arm, seed, round_, accuracy, groups=GROUPS, there=1.0, labels=0):
    """One row as the loop writes it; `there` in [0, 1] is how far training has come."""
    noise = random.Random(f"{seed} {arm} {round_}" if round_ else f"{seed}")
    hard = [1 + i * there * 1.5 for i in range(len(groups))]
    easy = [accuracy * (1.6 - 1.2 * i / len(groups)) * noise.uniform(0.8, 1.2) for i in range(99)]
    prompts = [0.5**f for f in range(round_ + 1)]
    weight = [p * 1.43**f for f, p in enumerate(prompts)]
    return {
        "arm": arm, "seed": seed, "round": round_, "test_accuracy": accuracy,
        "eval_by_group": {b: min(1.0, e) for b, e in zip(groups, easy)},
        "train_accuracy": accuracy * 0.97, "train_solved": min(1.0, accuracy * 1.35),
        "accepted": accuracy * 0.97, "labels_spent": labels, "labels_kept": int(0.3 * labels),
        "distinct": 0.8 - (0.5 if arm == "do_nothing" else 0.3) * there, "cut_off": 0.01,
        "weight_by_group": {b: h / sum(hard) for b, h in zip(groups, hard)},
        "weight_by_failures": [w / sum(weight) for w in weight],
        "prompts_by_failures": [round(1024 * p / sum(prompts)) for p in prompts],
        "train_loss": None if round_ == 0 else 1.2 * math.exp(-round_ / 3), "seconds": 12.5,
    } | dict.fromkeys(LATER)  # fmt: skip


def make_run(arms=ARMS, seeds=3, rounds=5, groups=GROUPS, scale=1.0, **config):
    """A run whose curves look like those of a real one; with `scale` 0 it learns nothing."""
    rng, rows, predicted = random.Random(7), [], {}
    for seed in range(seeds):
        start = 0.24 + rng.gauss(0, 0.012)
        predicted[seed] = {}
        for arm in arms:
            goal, path = GOAL[arm] + rng.gauss(0, 0.02), []
            for r in range(rounds + 1):
                there = 1 - math.exp(-r / 1.5)
                path.append(scale * (start + (goal - start) * there))
                labels = 256 * r * (arm in ("uniform", "boosting"))
                rows.append(make_row(arm, seed, r, path[-1], groups, there, labels))
            predicted[seed][arm] = [p * (0.95 - 0.02 * i) for i, p in enumerate(path)]
    settings = asdict(Config(arms=tuple(arms), seeds=seeds, rounds=rounds)) | config
    return RunData(settings, tuple(rows), predicted)


def exact_run(filter_only=(), boosting=(), start=0.2, labels=256, **others):
    """A run of one round from its final accuracies, one a seed."""
    final = others | {"filter_only": filter_only, "boosting": boosting}
    final = {arm: final[arm] for arm in ARMS if final.get(arm)}
    rows = []
    for arm, seed in [(a, s) for a in final for s in range(len(final[a]))]:
        end = make_row(arm, seed, 1, final[arm][seed], labels=labels * (arm in ARMS[2:]))
        rows += [make_row(arm, seed, 0, start), end]
    seeds = max(map(len, final.values()))
    return RunData(asdict(Config(arms=tuple(final), seeds=seeds, rounds=1)), tuple(rows), {})


def only(run, last):
    keep = [row for row in run.rows if row["round"] <= last.get((row["arm"], row["seed"]), -1)]
    return replace(run, rows=tuple(keep))


RUN = make_run()
ONLY_ROUND_0 = only(RUN, {(arm, 0): 0 for arm in ARMS})
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
    "odd prediction": replace(make_run(rounds=1), predicted={0: {"boosting": [0.2, None]}}),
    "all zero": make_run(scale=0.0, seeds=1, rounds=2),
    "all right": exact_run([1.0, 1.0], [1.0, 1.0], start=1.0),
    "no labels": exact_run([0.3, 0.4], [0.3, 0.4], labels=0),
    "only round 0": ONLY_ROUND_0,
    "unfinished": replace(UNFINISHED, predicted={0: RUN.predicted[0]}),
    "nulls": RunData(RUN.config, tuple(row | NOTHING for row in RUN.rows), {}),
    "many rounds": make_run(arms=ARMS[2:], seeds=2, rounds=40),
    "no rows": NO_ROWS,
}


@pytest.fixture(scope="module", params=CASES)
def case(request):
    return CASES[request.param], render_html(CASES[request.param])


LOW, HIGH = [0.40, 0.41, 0.42], [0.46, 0.47, 0.49]


@pytest.mark.parametrize(
    ("run", "index", "words"),
    [
        # Differences 6, 6, 7: mean 6.33, half width 4.302653 * 0.57735 / sqrt(3) = 1.434.
        (exact_run(LOW, HIGH), 0, "Curation helped: after round 1 boosting is at 47.3% and "
         "filter_only at 41.0%, a difference of +6.3 points (95% interval +4.9 to +7.8, paired o"),
        (exact_run(HIGH, LOW), 0, "Curation did harm: after .* -6.3 points (95% interval -7.8 to "),
        (exact_run([0.40, 0.41], [0.42, 0.47]), 0, "This run does not settle whether curation "
         "helped: .* +4.0 points (95% interval -21.4 to +29.4, .* which includes 0."),
        (exact_run(LOW, LOW), 0, "This run does not settle .* 0.0 points (95% interval 0.0 to 0.0"),
        (exact_run([0.4], [0.46]), 0, "One seed: no interval, so .* difference of +6.0 points."),
        (exact_run(LOW, HIGH, labels=0), 0, "Curation helped.* But boosting bought no labels"),
        (exact_run(LOW, HIGH, uniform=LOW), 1, "Spending .* hardest prompts was better.* +6.3 poi"),
        (exact_run(LOW, LOW, uniform=HIGH), 1, "Spending .* hardest prompts was worse.* -6.3 poi"),
        (exact_run(LOW, HIGH, uniform=[0.4, 0.6, 0.4]), 1, "Whether it matters .* stays open"),
        (exact_run(LOW, HIGH, do_nothing=[0.1, 0.11, 0.12]), 1, "do_nothing lost: from 20.0% to "
         "11.0%, -9.0 points (95% interval -11.5 to -6.5, paired over 3 seeds), by training on"),
        (exact_run(LOW, HIGH, do_nothing=LOW), 1, "do_nothing gained: from 20.0% to 41.0%"),
        (exact_run(LOW, HIGH, do_nothing=[0.1, 0.3, 0.2]), 1, "do_nothing neither gained nor lo"),
        (exact_run([0.1], [0.15]), 1, "No arm ended above the seed model's 20.0%; the best .* 15.0%"),
        (make_run(seeds=1, rounds=1, arms=("boosting",)), 0, "This run cannot say whether"),
        (ONLY_ROUND_0, 0, "No round of training is finished yet"),
        (NO_ROWS, 0, "This run has no results yet."),
    ],
)  # fmt: skip
def test_verdict(run, index, words):
    said = verdicts(run)
    assert re.match(re.escape(words).replace(r"\.\*", ".*").replace(r"\ ", " "), said[index])
    assert len(run.seeds) != 1 or "95%" not in " ".join(said)


def test_nothing_learnt_claims_nothing_else():
    for accuracy, words in ((0.0, "answered any"), (0.023, "answered more than 2.3%")):
        said = verdicts(exact_run([0.0] * 3, [accuracy] * 3, start=0.0, uniform=[0.0] * 3))
        expected = f"Nothing was learnt: no arm ever {words} of the test prompts correctly, so the "
        assert said == [expected + "comparison between arms means nothing."]
    assert "Nothing" not in verdicts(exact_run([0.0], [0.04], start=0.0))[0]


def test_unfinished_run_compares_the_same_round_and_the_same_seeds():
    late = {s.arm: s for s in summaries(only(RUN, ENDS | {("filter_only", 0): 2}))}
    assert late["boosting"].gain_per_100 is None  # filter_only has not got that far
    run, c = UNFINISHED, compare(UNFINISHED, "boosting", "filter_only")
    ours, theirs = (run.row(arm, 0, 4)["test_accuracy"] for arm in ("boosting", "filter_only"))
    assert (c.round, c.estimate.n, c.estimate.mean) == (4, 1, ours - theirs)
    assert compare(run, "do_nothing", "start").estimate.n == 2
    assert "pairs of arm and seed" not in verdicts(RUN)[-1]
    assert "4 of 12 pairs of arm and seed have reached round 5" in verdicts(run)[-1]
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
    assert " ".join(text.split()).endswith(" ".join(verdicts(CASES[name])))
    assert re.fullmatch(r"[ -~\n±]*", text)


def test_terminal_table_is_aligned_and_names_are_shortened():
    final = [0.4, 0.6]
    run = exact_run(final, final, labels=12_345_678, do_nothing=final, uniform=final)
    table = final_table(run).split("\n")
    assert [line.split()[0] for line in table[2:7]] == ["arm", *ARMS]
    assert len({len(line) for line in table[2:7]}) == 1
    assert "50.0% ±127.1" in table[3]
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


class Reader(HTMLParser):
    """Checks that tags balance, and collects what a browser would fetch or jump to."""

    def __init__(self, page):
        super().__init__()
        self.open, self.ids, self.links, self.text, self.tags = [], [], [], [], []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.ids += [value for name, value in attrs if name == "id"]
        self.links += [value for name, value in attrs if re.search("href|src|data$", name)]
        assert not [name for name, _ in attrs if name.startswith("on")]

    def handle_starttag(self, tag, attrs):
        self.handle_startendtag(tag, attrs)
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


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
    assert verdicts(run)[0] in text
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


def test_page_and_picture_are_the_same_every_time():
    assert render_html(make_run(seeds=2, rounds=2)) == render_html(make_run(seeds=2, rounds=2))
    assert summary_png(RUN) == summary_png(make_run())


def test_page_has_every_figure_and_setting():
    run = make_run()
    run.config["data"] |= {"eval_split": "validation"}
    page = render_html(run)
    assert (page.count("<svg"), page.count("<figcaption>")) == (8 + len(ARMS), 8)
    assert all(word in page for word in ("Theory and measure", "95% t-", "still being chosen"))
    assert all(word in page for word in ("false_accept_rate", "warmup_steps", ", ".join(ARMS)))
    assert page.count("stroke-dasharray") == 2 + len(ARMS)  # levels without labels, and theory
    assert page.count("Validation accuracy") > 1 > page.count("Test accuracy")
    assert "@media screen and (prefers-color-scheme:dark)" in page
    assert not re.search(r": #|font-family", page[page.index("<svg") :])  # colours are variables
    one_seed = render_html(replace(make_run(seeds=1, rounds=1), predicted={}))
    assert "One seed, so no intervals." in one_seed
    assert not re.search("95%|Theory", one_seed)


def test_everything_is_escaped():
    evil = '<script>alert("1")</script>&amp;'
    run = make_run(groups=(evil, "b"), seeds=1, rounds=1, name=evil, **{evil: {evil: (evil,)}})
    run.config["data"] |= {"path": evil, "task": evil}
    rows = (row | {"arm": evil} if row["arm"] == "uniform" else row for row in run.rows)
    page = render_html(replace(run, rows=tuple(rows)))
    assert "<script" not in page
    assert "".join(Reader(page).text).count(evil) >= 8
