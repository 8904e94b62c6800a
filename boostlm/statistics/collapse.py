"""Signs that a model is collapsing, and the thresholds at which a run says so.

Collapse is a model that gets worse, or narrower without getting better, by training on its own
output. Each threshold compares a run with its own start, so none depends on the task.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from boostlm.statistics.paired import mcnemar

# A test is made for each arm, seed and round. At this two-sided level a model as good as its start
# is called worse in at most 1 of 200 rows: one false alarm in 10 runs of 4 arms and 5 rounds.
ALARM_P = 0.01
# Of the diversity above its floor of one answer a prompt. Learning narrows answers too, so this is
# an alarm only while accuracy is not clearly above the start.
DIVERSITY_LEFT = 0.5
# The first filtered round narrows any model at once, before accuracy can show a gain, and a model
# that trains has a bad round now and then; two rounds in a row are no accident.
LASTING = 2
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


def alarms(rows: Sequence[Mapping[str, Any]], k: int) -> dict[str, str]:
    """The alarms of the last of one arm's rows of metrics: {kind: what was seen}, mostly empty.

    accuracy: greedy accuracy is below the seed model's, by McNemar's exact test at ALARM_P.
    diversity: for LASTING rounds less than DIVERSITY_LEFT of the diversity above 1/k has been
      left, while greedy accuracy was not above the seed model's by the same test.
    forgetting: in each of the last LASTING rounds more prompts left the solved set than entered it,
      by the same test. Chance alone moves as many out as in.

    Args:
      rows: of rounds 0, 1, ...; "test_accuracy", "distinct", "churn" and "against_start" are read,
        the last two of which are None in round 0 and wherever they could not be measured.
      k: samples a prompt.
    """
    start, now, last, found = rows[0], rows[-1], rows[1:][-LASTING:], {}
    if now["against_start"] is not None and _fell(now["against_start"]):
        won, lost = now["against_start"]["won"], now["against_start"]["lost"]
        found["accuracy"] = (
            f"greedy accuracy {now['test_accuracy']:.1%} is below the seed model's "
            f"{start['test_accuracy']:.1%} ({lost} prompts lost, {won} won, "
            f"McNemar p = {mcnemar(won, lost).p:.2g})"
        )
    if len(last) < LASTING:
        return found
    least = 1 / k + DIVERSITY_LEFT * (start["distinct"] - 1 / k)
    if all(row["distinct"] < least and not _rose(row["against_start"]) for row in last):
        found["diversity"] = (
            f"diversity of answers fell from {start['distinct']:.2f} to {now['distinct']:.2f} with "
            "no clear gain in accuracy"
        )
    if all(_fell(row["churn"], "gained") for row in last):
        found["forgetting"] = (
            f"more solved prompts were lost than gained for {LASTING} rounds in a row: "
            + ", then ".join(f"{c['lost']} to {c['gained']}" for c in (r["churn"] for r in last))
        )
    return found


def _fell(change: Mapping[str, int] | None, up: str = "won") -> bool:
    """Whether more prompts were lost than came in; what was not measured did not."""
    if change is None:
        return False
    return change["lost"] > change[up] and mcnemar(change[up], change["lost"]).p < ALARM_P


def _rose(change: Mapping[str, int] | None) -> bool:
    if change is None:
        return False
    return change["won"] > change["lost"] and mcnemar(change["won"], change["lost"]).p < ALARM_P
