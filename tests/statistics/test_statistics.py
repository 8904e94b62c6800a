"""The statistics: estimators that are unbiased, tests that are exact, intervals that cover."""

import itertools
import math
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest

from boostlm.report.axes import axis_limits, spread_labels
from boostlm.statistics.audit import (
    Checked,
    clopper_pearson,
    draw_audit,
    draw_labels,
    false_accept_rate,
    miss_rate,
    right_rate,
)
from boostlm.statistics.collapse import Churn, alarms, churn, tail_loss
from boostlm.statistics.intervals import mean_interval
from boostlm.statistics.paired import mcnemar, mcnemar_of
from boostlm.statistics.pass_at_k import pass_at_k, pass_means, reported_ks


def of_counts(right, samples):
    """bool [len(right), samples] with that many right ones in each row."""
    return np.arange(samples) < np.asarray(right)[:, None]


# --- pass@k -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("samples", "k"), [(1, 1), (8, 1), (8, 3), (8, 8), (5, 4)])
def test_pass_at_k_is_the_chance_that_a_draw_of_k_holds_a_right_one(samples, k):
    correct = of_counts(range(samples + 1), samples)
    draws = list(itertools.combinations(range(samples), k))
    expected = [np.mean([row[list(d)].any() for d in draws]) for row in correct]
    assert pass_at_k(correct, k) == pytest.approx(expected, abs=1e-15)


def test_pass_at_k_is_exact_where_binomials_overflow():
    n, k = 5000, 1000
    for c in (0, 1, 3, 40, 4000, 4001, 5000):
        exact = 1 - Fraction(math.comb(n - c, k), math.comb(n, k))
        assert pass_at_k(of_counts([c], n), k)[0] == pytest.approx(float(exact), abs=1e-12)


def test_pass_at_k_is_unbiased():
    rng, p = np.random.default_rng(0), 0.15
    estimate = pass_at_k(rng.random((200_000, 8)) < p, 4)
    assert estimate.mean() == pytest.approx(1 - (1 - p) ** 4, abs=4 * estimate.std() / 447)
    with pytest.raises(ValueError, match="pass@9 cannot be estimated from 8 samples"):
        pass_at_k(of_counts([1], 8), 9)


def test_a_table_of_pass_at_k():
    assert [reported_ks(n) for n in (0, 1, 2, 6, 8)] == [
        [],
        [1],
        [1, 2],
        [1, 2, 4, 6],
        [1, 2, 4, 8],
    ]
    means = pass_means(of_counts([0, 1, 4], 4))
    assert means == pytest.approx({"1": 1.25 / 3, "2": 1.5 / 3, "4": 2 / 3})


# --- two models on the same prompts -----------------------------------------------------------


def test_mcnemar_is_the_binomial_test_on_discordant_prompts():
    # 2 of 10: twice (1 + 10 + 45) / 1024.
    assert mcnemar(2, 8).p == mcnemar(8, 2).p == pytest.approx(2 * 56 / 1024)
    assert (mcnemar(0, 0).p, mcnemar(3, 3).p) == (1, pytest.approx(1))
    first, second = np.array([1, 1, 1, 0, 0], bool), np.array([1, 0, 0, 1, 0], bool)
    assert mcnemar_of(first, second)[:2] == (2, 1)
    with pytest.raises(ValueError, match="paired"):
        mcnemar_of(first, second[:4])


@pytest.mark.slow
def test_mcnemar_seldom_fires_between_equals():
    rng = np.random.default_rng(1)
    wins = rng.binomial(60, 0.5, 2000)
    assert np.mean([mcnemar(int(w), 60 - int(w)).p < 0.05 for w in wins]) < 0.06


# --- the audit --------------------------------------------------------------------------------


def test_clopper_pearson_matches_published_limits():
    assert clopper_pearson(0, 10) == pytest.approx((0, 0.30850), abs=1e-5)
    assert clopper_pearson(10, 10) == pytest.approx((0.69150, 1), abs=1e-5)
    assert clopper_pearson(3, 10) == pytest.approx((0.06674, 0.65245), abs=1e-5)
    assert clopper_pearson(0, 0) == (0, 1)


def simulated(rng, runs, sizes, accuracy, miss, false_accept, audit):
    """(accepted, rejected, miss, false accept): audits of `runs` runs, and what is true of them.

    `sizes`: responses of each stratum (round), whose accuracy is `accuracy`.
    """
    shape = (runs, len(sizes))
    right = rng.binomial(sizes, accuracy, shape)
    rejected_right = rng.binomial(right, miss)
    accepted_wrong = rng.binomial(np.asarray(sizes) - right, false_accept)
    accepted_right, rejected_wrong = right - rejected_right, sizes - right - accepted_wrong

    def check(good, bad):
        n = np.minimum(good + bad, audit // 2)
        return Checked(good + bad, n, rng.hypergeometric(good, bad, n))

    both = check(accepted_right, accepted_wrong), check(rejected_right, rejected_wrong)
    true_miss = rejected_right.sum(1) / right.sum(1)
    return *both, true_miss, accepted_wrong.sum(1) / (np.asarray(sizes) - right).sum(1)


@pytest.mark.parametrize("sizes", [[2000], [400, 800, 2000, 1500]])
@pytest.mark.parametrize("accuracy", [0.3, 0.7])
@pytest.mark.parametrize(("miss", "false_accept"), [(0.1, 0.3), (0.02, 0.01), (0.3, 0.1)])
def test_the_filters_rates_are_covered_and_not_biased(sizes, accuracy, miss, false_accept):
    rng = np.random.default_rng([4, len(sizes)])
    accepted, rejected, *truth = simulated(rng, 2000, sizes, accuracy, miss, false_accept, 64)
    found = miss_rate(accepted, rejected), false_accept_rate(accepted, rejected)
    for rate, true in zip(found, truth, strict=True):
        assert np.mean((rate.low <= true) & (true <= rate.high)) >= 0.95
        assert np.all((rate.low <= rate.estimate) & (rate.estimate <= rate.high))
        assert np.mean(rate.estimate) == pytest.approx(np.mean(true), abs=0.02)


def test_intervals_shrink_and_the_rejected_alone_would_mislead():
    rng = np.random.default_rng(5)
    widths = []
    for audit in (64, 1024):
        accepted, rejected, true, _ = simulated(rng, 2000, [4000], 0.7, 0.1, 0.3, audit)
        rate = miss_rate(accepted, rejected)
        widths.append(np.mean(rate.high - rate.low))
    assert widths[0] > 0.1 > 0.05 > widths[1]
    assert np.mean(rejected.right / rejected.checked) > np.mean(true) + 0.1  # P(correct | rejected)


def test_rates_where_a_verdict_or_an_answer_never_occurs():
    none, some = Checked([0], [0], [0]), Checked([50], [20], [5])
    rate = miss_rate(none, some)  # all rejected: whatever is correct was missed
    assert (rate.estimate, rate.high) == (1, 1)
    assert miss_rate(some, none)[:2] == (0, 0)
    nothing_right = miss_rate(Checked([9], [9], [0]), Checked([9], [9], [0]))
    assert np.isnan(nothing_right.estimate)
    assert (nothing_right.low, nothing_right.high) == (0, 1)
    unchecked = false_accept_rate(Checked([9], [0], [0]), Checked([9], [0], [0]))
    assert np.isnan(unchecked.estimate)
    assert (unchecked.low, unchecked.high) == (0, 1)
    assert np.isnan(right_rate(none).estimate)


def test_strata_are_weighed_by_their_size():
    rate = right_rate(Checked([900, 100], [10, 10], [1, 9]))
    assert rate.estimate == pytest.approx(0.9 * 0.1 + 0.1 * 0.9)
    alone = right_rate(Checked([900], [10], [2]))
    assert (alone.low, alone.high) == clopper_pearson(2, 10)


def test_an_audit_draws_both_verdicts_evenly_as_far_as_there_are():
    accepted = np.zeros((50, 8), bool)
    accepted[:40, :5] = True
    yes, no = draw_audit(0, 3, accepted, 64)
    assert (len(set(yes)), len(set(no))) == (32, 32)
    assert accepted.reshape(-1)[yes].all()
    assert not accepted.reshape(-1)[no].any()
    assert [len(x) for x in draw_audit(0, 3, accepted, 390)] == [195, 195]
    few = np.arange(400) < 5
    assert [len(x) for x in draw_audit(0, 3, few, 64)] == [5, 59]
    assert [len(x) for x in draw_audit(0, 3, ~few, 64)] == [59, 5]
    assert [len(x) for x in draw_audit(0, 3, ~few, 1000)] == [395, 5]
    assert [len(x) for x in draw_audit(0, 3, few, 0)] == [0, 0]
    again = [tuple(draw_audit(s, r, accepted, 64)[0]) for s, r in ((0, 3), (0, 4), (1, 3), (0, 3))]
    assert again[0] == again[3] == tuple(yes)
    assert len(set(again)) == 3
    assert sorted(draw_labels(0, 1, 5, 64)) == [0, 1, 2, 3, 4]
    assert len(set(draw_labels(0, 1, 500, 64))) == 64


def test_every_response_is_audited_equally_often():
    drawn = np.concatenate(
        [np.concatenate(draw_audit(s, 0, np.arange(20) < 8, 8)) for s in range(900)]
    )
    times = np.bincount(drawn, minlength=20)
    assert times[:8] == pytest.approx(900 / 2, abs=75)
    assert times[8:] == pytest.approx(900 / 3, abs=75)


# --- collapse ---------------------------------------------------------------------------------


def row(won=0, lost=0, differ=0.9, out=0, into=0, accuracy=0.5, gain=0.0):
    """A row of metrics: prompts against the seed model, wrong answers, prompts out of the solved."""
    return {
        "test_accuracy": accuracy,
        "wrong_diversity": {"estimate": differ, "se": 0.01, "prompts": 80},
        "train_change": {"mean": gain, "se": 0.02},
        "against_start": {"won": won, "lost": lost},
        "churn": Churn(kept=100, lost=out, gained=into, unsolved=50)._asdict(),
    }


START = row() | {"against_start": None, "churn": None, "train_change": None}


def kinds(*rows):
    """The alarms after the seed model and these rounds."""
    return set(alarms([START, *rows]))


def test_alarms_fire_where_they_are_defined_to():
    assert kinds() == kinds(row()) == kinds(row(), row(), row()) == set()
    # Eight prompts lost and none won has p = 2/256, nine 2/512.
    assert kinds(row(lost=8)) == kinds(row(won=9)) == kinds(row(won=9), row(won=9)) == set()
    assert kinds(row(lost=9)) == kinds(row(won=9), row(lost=9)) == {"accuracy"}
    assert kinds(row(lost=9), row()) == set()
    # Half of 0.9 is 0.45; two standard errors of both are 0.022.
    narrow, wide = row(differ=0.42), row(differ=0.44)
    assert kinds(narrow) == kinds(wide, narrow) == kinds(wide, wide) == kinds(narrow, wide) == set()
    assert kinds(narrow, narrow) == kinds(wide, narrow, narrow) == {"diversity"}
    gained, unsure = (row(won=won, differ=0.2) for won in (9, 8))
    assert kinds(narrow, gained) == kinds(gained, narrow) == kinds(gained, gained) == set()
    assert kinds(unsure, unsure) == {"diversity"}
    better, hardly = (row(differ=0.2, gain=gain) for gain in (0.05, 0.03))
    assert kinds(better, better) == kinds(narrow, better) == set()
    assert kinds(hardly, hardly) == {"diversity"}
    few = row(differ=0.1) | {"wrong_diversity": {"estimate": 0.1, "se": 0.01, "prompts": 9}}
    assert kinds(few, few) == kinds(*[row() | {"wrong_diversity": None}] * 2) == set()
    shrank, held, grew = row(out=30, into=9), row(out=30, into=20), row(out=9, into=30)
    assert kinds(shrank) == kinds(shrank, held) == kinds(grew, grew) == set()
    assert kinds(shrank, shrank) == kinds(grew, shrank, shrank) == {"forgetting"}
    unknown = row() | {"churn": None, "against_start": None, "train_change": None}
    assert kinds(unknown, shrank) == kinds(unknown) == kinds(unknown, unknown) == set()


def test_an_alarm_says_what_was_seen():
    now = row(lost=40, accuracy=0.3, differ=0.2, out=40, into=3)
    said = alarms([START, now, now])
    assert (
        "30.0% is below the seed model's 50.0% (40 prompts lost, 0 won, McNemar p = 1.8e-12)"
        in said["accuracy"]
    )
    assert "differ fell from 0.90 to 0.20 with no clear gain" in said["diversity"]
    assert said["forgetting"].endswith("2 rounds in a row: 40 to 3, then 40 to 3")


def test_churn_counts_every_prompt_once():
    before, now = np.array([1, 1, 0, 0, 1], bool), np.array([1, 0, 1, 0, 0], bool)
    assert churn(before, now) == Churn(kept=1, lost=2, gained=1, unsolved=1)


def test_tail_loss_is_of_the_heaviest_tenth_ties_in():
    loss = np.arange(20.0)  # nats a token of prompt n
    length = np.tile(np.array([1, 2], np.int32), (20, 1))
    logprob = -loss[:, None] * length
    weight = np.zeros(20)
    assert tail_loss(weight, logprob, length) == pytest.approx(loss.mean())
    weight[[3, 7]] = 1.0
    assert tail_loss(weight, logprob, length) == pytest.approx(5)
    weight[[3, 7, 11]] = [2.0, 1.0, 1.0]
    assert tail_loss(weight, logprob, length) == pytest.approx(7)


# --- the report's own ---------------------------------------------------------------------------


def test_intervals_match_numbers_worked_out_by_hand():
    # Mean 4, variance 4, so the standard error is 2/sqrt(3); t(0.975, 2) = 4.302653.
    e = mean_interval([2.0, 4.0, 6.0])
    assert (e.mean, e.n, e.low, e.high) == pytest.approx((4, 3, -0.968276, 8.968276), rel=1e-5)
    # Two values: half their distance times t(0.975, 1) = 12.706205.
    assert mean_interval([0.4, 0.5]).half == pytest.approx(0.63531, rel=1e-5)
    e = mean_interval([0.3])
    assert (e.mean, e.half, e.low, e.high, e.n) == (0.3, None, None, None, 1)
    with pytest.raises(ValueError, match="non-empty"):
        mean_interval([])


def test_axes_are_sensible_and_labels_apart():
    assert axis_limits([[0.0], [0.0, 0.0]]) == (0.0, 0.1)
    assert axis_limits([[0.2], [0.6]]) == pytest.approx((0.0, 0.63))
    assert axis_limits([[0.9], [0.95]]) == pytest.approx((0.8625, 0.9625), abs=1e-9)
    assert axis_limits([[1.0, 1.0]]) == (0.9, 1.0)
    assert axis_limits([[0.2]], extra=[0.8])[1] > 0.8
    for wanted in ([5, 5, 5], [0, 0, 1], [50, 49, 48, 3], [40, 10], [50], []):
        placed = spread_labels(wanted, 10.0, 0.0, 50.0)
        up = [placed[i] for i in sorted(range(len(wanted)), key=wanted.__getitem__)]
        assert all(0 <= p <= 50 for p in placed)
        assert all(b - a >= 10 for a, b in pairwise(up))
    assert (spread_labels([40, 1], 9, 0, 50), spread_labels([25, 25], 10, 0, 50)) == (
        [40, 1],
        [20, 30],
    )
