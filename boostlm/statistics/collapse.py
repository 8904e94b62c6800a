"""Signs that a model is collapsing, and the thresholds at which a run says so.

Collapse is a model that gets worse, or narrower without getting better, by training on its own
output. Each threshold compares a run with its own start, so none depends on the task.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from boostlm.statistics.paired import mcnemar, mcnemar_of

# A test is made for each arm, seed and round. At this two-sided level a model as good as its start
# is called worse in at most 1 of 200 rows: one false alarm in 10 runs of 4 arms and 5 rounds.
ALARM_P = 0.01
# Of the variety above its floor of one answer a prompt. Narrowing is also what learning looks like,
# so it is an alarm only while accuracy is not clearly above the start.
VARIETY_LEFT = 0.5
# A model that trains has a bad round now and then; two in a row at ALARM_P is no accident.
FORGETTING_ROUNDS = 2
TAIL = 0.1  # the hardest tenth of the prompts


class Churn(NamedTuple):
    """How the set of solved prompts changed in a round; counts of prompts that add up to all.

    Attributes:
      kept: solved before and now.
      lost: solved before, not now.
      gained: solved now, not before.
      unsolved: neither.
    """

    kept: int
    lost: int
    gained: int
    unsolved: int


def churn(before_N: np.ndarray, now_N: np.ndarray) -> Churn:
    """From the solved prompts of two rounds, bool [N]: those with an accepted response."""
    pairs = ((before_N, now_N), (before_N, ~now_N), (~before_N, now_N), (~before_N, ~now_N))
    return Churn(*(int(np.sum(a & b)) for a, b in pairs))


def tail_loss(log_weight_N: np.ndarray, logprob_NxKxR: np.ndarray, length_NxK: np.ndarray) -> float:
    """Loss on the hardest tenth, in nats a token: how unsure the model is where it fails most.

    The mean over the model's own responses to these prompts of -log p(response) / tokens, EOS
    included, at temperature 1. The prompts are those that weigh at least as much as the
    ceil(N / 10)-th heaviest; ties are all in, so that before any round it is all prompts. Near 0,
    the model has settled on its answers there; if they stay wrong, more of its own samples will
    not move it.

    Args:
      log_weight_N: float, difficulty.
      logprob_NxKxR: float32, of each token, 0 on padding.
      length_NxK: int32, tokens.
    """
    N = len(log_weight_N)
    heaviest = np.sort(log_weight_N)[-max(1, int(np.ceil(TAIL * N)))]
    tail_N = np.asarray(log_weight_N) >= heaviest
    loss_NxK = -np.sum(logprob_NxKxR, axis=-1, dtype=np.float64) / np.maximum(length_NxK, 1)
    return float(np.mean(loss_NxK[tail_N]))


def alarms(
    rows: Sequence[Mapping[str, Any]], start_M: np.ndarray, now_M: np.ndarray, k: int
) -> dict[str, str]:
    """The alarms of the last of one arm's rows of metrics: {kind: what was seen}, mostly empty.

    accuracy: greedy accuracy is below the seed model's, by McNemar's exact test at ALARM_P.
    variety: less than VARIETY_LEFT of the variety above 1/k is left, and greedy accuracy is not
      above the seed model's by the same test.
    forgetting: in each of the last FORGETTING_ROUNDS rounds more prompts left the solved set than
      entered it, by the same test. Chance alone moves as many out as in.

    Args:
      rows: of rounds 0, 1, ...; "distinct", "test_accuracy" and "churn" are read.
      start_M: bool, the seed model's greedy verdicts.
      now_M: bool, the model's.
      k: samples a prompt.
    """
    start, now, found = rows[0], rows[-1], {}
    better, worse, p = mcnemar_of(now_M, start_M)
    if len(rows) == 1:
        return {}
    if worse > better and p < ALARM_P:
        found["accuracy"] = (
            f"greedy accuracy {now['test_accuracy']:.1%} is below the seed model's "
            f"{start['test_accuracy']:.1%} ({worse} prompts lost, {better} won, "
            f"McNemar p = {p:.2g})"
        )
    room, left = start["distinct"] - 1 / k, now["distinct"] - 1 / k
    if left < VARIETY_LEFT * room and not (better > worse and p < ALARM_P):
        found["variety"] = (
            f"variety of answers fell from {start['distinct']:.2f} to {now['distinct']:.2f} with "
            "no clear gain in accuracy"
        )
    last = [row["churn"] for row in rows[-FORGETTING_ROUNDS:]]
    if len(last) == FORGETTING_ROUNDS and all(c is not None and _shrank(c) for c in last):
        found["forgetting"] = (
            f"more solved prompts were lost than gained for {FORGETTING_ROUNDS} rounds in a row: "
            + ", then ".join(f"{c['lost']} to {c['gained']}" for c in last)
        )
    return found


def _shrank(c: Mapping[str, int]) -> bool:
    return c["lost"] > c["gained"] and mcnemar(c["gained"], c["lost"]).p < ALARM_P
