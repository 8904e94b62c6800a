"""Alarms by simulation: healthy runs hardly ever raise one, a collapse always does."""

import numpy as np
import pytest

from boostlm.curation.diversity import wrong_pairs
from boostlm.statistics.collapse import (
    Churn,
    alarms,
    churn,
    paired_change,
    wrong_diversity,
)
from boostlm.statistics.paired import mcnemar_of

K = 8


def sampled(rng, p, kinds):
    """Answers [N, K]: 0 is right, with chance p of each prompt; wrong ones are of some kinds."""
    answer = np.where(
        rng.random((len(p), K)) < p[:, None], 0, rng.integers(1, kinds + 1, (len(p), K))
    )
    return answer.astype(np.int32)


def rows_of(rng, p_of_round, greedy_of_round, kinds_of_round):
    """The rows of one arm whose samples, and whose greedy answers, have these chances."""
    rows, start, start_greedy, before = [], None, None, None
    for p, greedy, kinds in zip(p_of_round, greedy_of_round, kinds_of_round, strict=True):
        answer, right_greedy = sampled(rng, p, kinds), rng.random(len(greedy)) < greedy
        correct = answer == 0
        solved = correct.any(axis=1)
        differ, pairs = map(np.asarray, wrong_pairs(answer[..., None], correct))
        row = {
            "test_accuracy": right_greedy.mean(),
            "wrong_diversity": wrong_diversity(differ, pairs),
            "train_change": None if start is None else paired_change(start, correct),
            "against_start": None,
            "churn": None if before is None else churn(before, solved)._asdict(),
        }
        if start is None:
            start, start_greedy = correct, right_greedy
        else:
            won, lost, _ = mcnemar_of(right_greedy, start_greedy)
            row["against_start"] = {"won": won, "lost": lost}
        rows.append(row)
        before = solved
    return rows


def alarms_of(rows):
    return {kind for i in range(1, len(rows)) for kind in alarms(rows[: i + 1])}


def healthy_arms(rng, prompts, evaluated):
    """Four arms over five rounds: one stands still, the others get better to some degree."""
    p, greedy = rng.beta(1, 1.5, prompts), rng.beta(0.8, 1.2, evaluated)
    for lift in (0.0, 0.15, 0.4, 0.8):
        share = [lift * (1 - np.exp(-r / 1.5)) for r in range(6)]
        yield [p + (1 - p) * s for s in share], [greedy + (1 - greedy) * s for s in share]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("prompts", "evaluated", "kinds"), [(48, 24, 20), (256, 128, 4), (1000, 512, 1000)]
)
def test_at_most_1_in_20_healthy_runs_raises_an_alarm(prompts, evaluated, kinds):
    rng, false = np.random.default_rng(prompts), 0
    for _ in range(60):
        arms = healthy_arms(rng, prompts, evaluated)
        false += any(alarms_of(rows_of(rng, p, g, [kinds] * 6)) for p, g in arms)
    assert false <= 3 + 3  # 5% of 60, and the noise of 60 runs


@pytest.mark.parametrize("evaluated", [10, 512])
def test_getting_better_is_no_collapse(evaluated):
    """From 40 to 90% of the samples, while the greedy answers hardly move."""
    rng = np.random.default_rng(0)
    p = [np.full(200, x) for x in (0.4, 0.65, 0.9, 0.9)]
    greedy = [np.full(evaluated, x) for x in (0.6, 0.61, 0.62, 0.62)]
    rows = rows_of(rng, p, greedy, [1000] * 4)
    assert "diversity" not in alarms_of(rows)


def test_one_wrong_answer_left_is_a_collapse():
    rng = np.random.default_rng(1)
    still = [np.full(200, 0.4)] * 4
    rows = rows_of(rng, still, [np.full(128, 0.4)] * 4, [1000, 1000, 1, 1])
    assert "diversity" in alarms_of(rows)
    assert "diversity" not in alarms_of(rows[:3])  # two rounds in a row


def test_pairs_of_wrong_answers():
    answer = np.array([[0, 1, 1, 2], [0, 0, 0, 3], [4, 4, 4, 4], [0, 0, 0, 0]], np.int32)
    differ, pairs = wrong_pairs(answer[..., None], answer == 0)
    assert pairs.tolist() == [3, 0, 6, 0]
    assert differ.tolist() == [2, 0, 0, 0]
    found = wrong_diversity(np.asarray(differ), np.asarray(pairs))
    assert found["estimate"] == pytest.approx(2 / 9)
    assert found["prompts"] == 2
    assert found["se"] == pytest.approx(np.hypot(2 - 2 / 3, 4 / 3) / 9)
    assert wrong_diversity(np.zeros(3), np.zeros(3)) is None
    assert isinstance(churn(np.ones(2, bool), np.zeros(2, bool)), Churn)
