"""What a run says beyond accuracies: prompt by prompt, pass@k, audits, alarms; in rows and report."""

import json
import re
import shutil
from dataclasses import replace
from math import comb
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from etils import epath
from support.report_run import Reader, exact_run, make_run
from support.runs import finished_run, tiny_config

from boostlm.config import FOUR_ARMS, SampleConfig
from boostlm.engine.prompt_shards import split_prompts
from boostlm.experiment.evaluate import eval_answers, load_answers
from boostlm.experiment.metrics import audit_of
from boostlm.experiment.round_arrays import Verdicts
from boostlm.lm.generate import Responses
from boostlm.report import write
from boostlm.report.compare import compare, comparisons, summaries
from boostlm.report.conclusions import conclusions
from boostlm.report.page import render_html
from boostlm.report.prompt_level import all_paired, audited, mean_pass, p_words, paired, signs
from boostlm.report.terminal import final_table
from boostlm.report.wording import interval_ends, minus
from boostlm.report.write import read_run
from boostlm.statistics.audit import clopper_pearson
from boostlm.storage.durable_files import load_arrays
from boostlm.storage.ledger import Entry
from boostlm.storage.run_dir import RoundId, RunDir

pytestmark = pytest.mark.slow

# --- what a run leaves ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def rows():
    lines = (finished_run()[0] / "metrics.jsonl").read_text().splitlines()
    return {(row["arm"], row["round"]): row for row in map(json.loads, lines)}


def stage(arm, round_, name):
    files = RunDir(finished_run()[0]).round_dir(RoundId(0, arm, round_))
    return load_arrays(getattr(files, name))


def test_the_answers_on_disk_are_those_of_the_rows(rows):
    for (arm, round_), row in rows.items():
        answers = stage(arm, round_, "eval")
        assert answers["greedy_M"].dtype == answers["sampled_MxS"].dtype == bool
        assert answers["greedy_M"].mean() == row["test_accuracy"]
        assert answers["sampled_MxS"].shape == (24, 0)
        assert row["eval_pass"] is row["eval_pass_by_group"] is None


def test_rows_hold_pass_at_k_churn_and_tail_loss(rows):
    for (arm, round_), row in rows.items():
        correct = stage(arm, round_, "verdicts")["correct"]
        assert row["train_pass"] == pytest.approx({"1": correct.mean(), "2": correct.any(1).mean()})
        assert row["train_pass"]["1"] == row["train_accuracy"]
        assert row["train_pass_by_group"].keys() == row["weight_by_group"].keys()
        assert row["tail_loss"] > 0
        if round_ == 0:
            assert row["churn"] is row["against_start"] is None
            assert row["alarms"] == {}
            continue
        before, now = (stage(arm, r, "verdicts")["accepted"].any(1) for r in (round_ - 1, round_))
        assert row["churn"]["lost"] == np.sum(before & ~now)
        assert row["churn"]["gained"] == np.sum(now & ~before)
        assert sum(row["churn"].values()) == 24
        start, end = (stage(arm, r, "eval")["greedy_M"] for r in (0, round_))
        assert row["against_start"] == {"won": np.sum(end & ~start), "lost": np.sum(start & ~end)}


def test_rows_hold_the_audit(rows):
    for (arm, round_), row in rows.items():
        accepted = stage(arm, round_, "verdicts")["accepted"]
        audit = row["audit"]
        assert (audit["accepted"]["of"], audit["rejected"]["of"]) == (
            accepted.sum(),
            (~accepted).sum(),
        )
        assert audit["accepted"]["checked"] + audit["rejected"]["checked"] == 48  # all there are
        bought = row["labels_spent"] - (rows[arm, round_ - 1]["labels_spent"] if round_ else 0)
        assert audit["labels"]["of"] == audit["labels"]["checked"] == bought
        assert (row["beta"] is None) == (bought == 0)
        for rate in filter(None, (row["beta"], row["miss_rate"], row["false_accept_rate"])):
            assert 0 <= rate["low"] <= rate["high"] <= 1
    assert any(row["beta"] for row in rows.values())


def entry(prompt, correct):
    return Entry(0, "boosting", 0, prompt, 0, "x", 1.0, "", "", correct, correct, correct)


def test_an_audit_looks_at_what_it_drew_and_at_nothing_else():
    rng = np.random.default_rng(0)
    correct = rng.random((200, 4)) < 0.5
    accepted = np.where(correct, rng.random((200, 4)) < 0.9, rng.random((200, 4)) < 0.3)
    labels = [entry(i, i % 3 == 0) for i in range(100)]
    found = audit_of(RoundId(0, "boosting", 2), Verdicts(correct, accepted), labels, 16)
    assert found["audit"]["labels"]["checked"] == 16
    assert found["audit"]["accepted"]["checked"] == found["audit"]["rejected"]["checked"] == 8
    assert found["beta"]["estimate"] == found["audit"]["labels"]["right"] / 16

    same = 0  # turning one truth round changes an audit only if it was drawn
    for i in range(800):
        turned = correct.copy()
        turned.flat[i] ^= True
        same += audit_of(RoundId(0, "boosting", 2), Verdicts(turned, accepted), labels, 16) == found
    assert same == 800 - 16
    nothing = audit_of(RoundId(0, "boosting", 2), Verdicts(correct, accepted), labels, 0)
    assert nothing["beta"] is None
    assert nothing["miss_rate"] == {"estimate": None, "low": 0, "high": 1}


def test_sampled_answers_are_committed_and_read_back(tmp_path):
    config = tiny_config(sample=SampleConfig(eval_k=3))
    asked = []

    def sample(params, prompts, key, sampling, k, within):
        asked.append((sampling.temperature, k))
        tokens = np.zeros((24, k, 5), np.int32)
        finished = np.tile(np.arange(k) != 1, (24, 1))  # the second of each is cut off
        return Responses(tokens, tokens[..., 0], finished, tokens.astype(np.float32))

    def verify(ids, texts):
        return np.array([i % 2 == 0 for i in ids])

    ctx = SimpleNamespace(
        config=config,
        eval_prompts=SimpleNamespace(length_N=np.ones(24)),
        sample=sample,
        grade_eval=verify,
        texts=lambda tokens_NxKxR, length_NxK: [""] * length_NxK.size,
        learner=SimpleNamespace(shards=lambda prompts: split_prompts(jax.devices()[:1], prompts)),
    )
    learner = SimpleNamespace(params=None)
    path = epath.Path(tmp_path) / "eval.npz"
    answers = eval_answers(ctx, path, RoundId(0, "boosting", 1), learner, None)
    even_24 = np.arange(24) % 2 == 0
    assert np.array_equal(answers.greedy_M, even_24)
    assert np.array_equal(answers.sampled_MxS, even_24[:, None] & np.array([True, False, True]))
    assert asked == [(0.0, 1), (1.0, 3)]
    assert all(map(np.array_equal, answers, load_answers(path)))


# --- the report -------------------------------------------------------------------------------


def answering(run, **right):
    """The run with greedy answers: arm -> for each seed, the set of right prompts of 100."""
    answered = {}
    for row in run.rows:
        sets = right["start" if row["round"] == 0 else row["arm"]]
        there = np.isin(np.arange(100), list(sets[row["seed"] % len(sets)]))
        answered[row["arm"], row["seed"], row["round"]] = there
    return replace(run, answered=answered)


LOW, HIGH, SAME = range(40), range(5, 60), range(3, 42)


def test_pairs_are_counted_by_seed():
    run = answering(exact_run([0.4], [0.55]), start=[SAME], filter_only=[LOW], boosting=[HIGH])
    [found] = all_paired(run)
    assert [test[:2] for test in found.tests] == [(20, 5)]
    assert found.tests[0].p == pytest.approx(2 * sum(comb(25, k) for k in range(6)) / 2**25)
    run = answering(
        exact_run([0.4, 0.4], [0.55, 0.4]), start=[SAME], filter_only=[LOW], boosting=[HIGH, LOW]
    )
    [found] = all_paired(run)
    assert [test[:2] for test in found.tests] == [(20, 5), (0, 0)]
    assert (found.first_only, found.second_only) == (20, 5)


def test_page_and_table_show_pairs_with_their_interval_and_a_p_for_each_seed():
    run = exact_run([0.4] * 2, [0.55, 0.56])
    run = answering(run, start=[SAME], filter_only=[LOW], boosting=[HIGH, range(4, 60)])
    [found] = all_paired(run)
    e = found.comparison.estimate
    text, page = final_table(run), " ".join(Reader(render_html(run)).text)
    for shown in (interval_ends(e), " ".join(p_words(t.p) for t in found.tests)):
        assert shown in text
    assert minus(interval_ends(e)) in page
    assert "0 is outside an interval of 95.0%" in page
    assert all(len(line) <= 80 for line in text.splitlines())


def test_a_difference_that_several_comparisons_leave_open_says_so():
    """Its 95% interval leaves out 0, but that of three comparisons does not."""
    run = exact_run([0.4] * 3, [0.5] * 3, uniform=[0.4] * 3, do_nothing=[0.2] * 3)
    rng = np.random.default_rng(0)
    for seed in range(3):
        for arm, p in zip(FOUR_ARMS, (0.2, 0.4, 0.4, 0.56), strict=True):
            run.answered[arm, seed, 1] = rng.random(300) < p
        run.answered["do_nothing", seed, 0] = rng.random(300) < 0.2
    c = comparisons(run)[0]
    assert c.estimate.low > 0
    assert c.verdict == "open"
    assert "several comparisons, so each takes a wider interval" in conclusions(run)[0]
    assert compare(run, "boosting", "filter_only").verdict == "above"


def test_without_answers_of_every_seed_nothing_is_paired():
    run = answering(
        exact_run([0.4] * 2, [0.5] * 2), start=[SAME], filter_only=[LOW], boosting=[HIGH]
    )
    assert len(all_paired(run)) == 1
    del run.answered["boosting", 1, 1]
    assert all_paired(run) == []
    bare = replace(make_run(), answered={})
    assert paired(bare, comparisons(bare)[0]) is None
    assert "Prompt by prompt" not in render_html(run)
    assert [p_words(p) for p in (3e-7, 0.0012, 0.031, 1.0)] == ["<0.0001", "0.0012", "0.03", "1.00"]


def measured(run):
    """The run as a loop of this version writes it."""
    rows = []
    for row in run.rows:
        later = {
            "train_pass": {"1": 0.5, "8": 0.7}, "train_pass_by_group": {"add": {"1": 0.5, "8": 0.7}},
            "tail_loss": 0.5 - 0.05 * row["round"], "alarms": {}, "churn": None, "train_change": None,
            "wrong_diversity": {"estimate": 0.9 - 0.1 * row["round"], "se": 0.01, "prompts": 50},
            "against_start": None,
            "audit": {
                "accepted": {"of": 900, "checked": 32, "right": 31},
                "rejected": {"of": 100, "checked": 32, "right": 8},
                "labels": {"of": 256 * (row["round"] > 0), "checked": 64 * (row["round"] > 0), "right": 16 * (row["round"] > 0)},
            },
        }  # fmt: skip
        if row["round"]:
            later["churn"] = {"kept": 60, "lost": 20, "gained": 5, "unsolved": 15}
            later["against_start"] = {"won": 1, "lost": 20}
        if row["arm"] == "do_nothing" and row["round"] >= 2:
            later["alarms"] = {"accuracy": f"it fell <b>{row['round']}</b>"}
        rows.append(row | later)
    return replace(run, rows=tuple(rows))


MEASURED = measured(make_run(seeds=2, rounds=3))


def test_audits_of_all_rounds_and_seeds_are_put_together():
    do_nothing = audited(MEASURED)[0]
    assert (do_nothing.arm, do_nothing.responses, do_nothing.labels) == ("do_nothing", 512, 384)
    assert do_nothing.beta.estimate == 0.25
    assert (do_nothing.beta.low, do_nothing.beta.high) == clopper_pearson(96, 384)
    right = 900 * 31 / 32, 100 * 8 / 32
    assert do_nothing.miss.estimate == pytest.approx(right[1] / sum(right))
    assert do_nothing.false_accept.estimate == pytest.approx(900 / 32 / (900 / 32 + 75))
    assert do_nothing.miss.low < do_nothing.miss.estimate < do_nothing.miss.high


def test_signs_of_collapse_are_summed_up():
    found = {s.arm: s for s in signs(MEASURED)}
    assert found["do_nothing"].alarms == tuple(
        (seed, "accuracy", 2, 3, "it fell <b>3</b>") for seed in (0, 1)
    )
    assert found["boosting"].alarms == ()
    assert (found["boosting"].lost, found["boosting"].gained) == (0.25, 0.25)
    assert found["boosting"].tail_loss == (0.5, pytest.approx(0.35))
    assert found["boosting"].diversity == (0.9, pytest.approx(0.6))
    assert mean_pass(MEASURED, "boosting", "train_pass") == {"1": 0.5, "8": 0.7}


def test_the_page_and_the_table_show_what_was_measured():
    page = render_html(MEASURED)
    text = " ".join(" ".join(Reader(page).text).split())
    for words in ("One try or several", "Signs of collapse", "What an audit finds"):
        assert f"<h2>{words}</h2>" in page
    assert "seed 1, rounds 2 to 3: it fell <b>3</b>." in text
    assert "No alarm" not in text
    assert "25.0% 20.7% to 29.6%" in text  # beta of an arm
    assert "30.0% 0.0% 0.0%" in text  # what it was set to
    assert "pass@k by group of the training prompts" in text
    table = final_table(MEASURED)
    assert "Collapse alarm (accuracy): do_nothing, seed 1, rounds 2 to 3." in table
    quiet = replace(MEASURED, rows=tuple(row | {"alarms": {}} for row in MEASURED.rows))
    assert "No alarm in this run" in render_html(quiet)
    assert "alarm" not in final_table(quiet)
    old = render_html(replace(make_run(seeds=2, rounds=3), answered={}))
    assert not re.search("Signs of collapse|What an audit|One try|Prompt by prompt", old)


def test_a_run_directory_without_the_newer_files_still_gives_a_report(tmp_path, monkeypatch):
    monkeypatch.setattr(write, "predict", lambda *arguments: {})  # slow, and not looked at
    shutil.copytree(finished_run()[0], tmp_path / "run")
    whole = read_run(RunDir(tmp_path / "run"))
    assert len(all_paired(whole)) == 3
    assert len(audited(whole)) == len(signs(whole)) == len(FOUR_ARMS)
    for path in (tmp_path / "run").rglob("eval.npz"):
        path.unlink()
    less = read_run(RunDir(tmp_path / "run"))
    assert all_paired(less) == []
    assert [a.final.mean for a in summaries(less)] == [a.final.mean for a in summaries(whole)]
    assert all(a.final.half is None for a in summaries(less))
    assert "Prompt by prompt" not in render_html(less)
