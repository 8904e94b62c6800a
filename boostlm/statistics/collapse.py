"""Signs that a model is collapsing, and the thresholds at which a run says so.

Collapse is a model that gets worse, or narrower without getting better, by training on its own
output. Each threshold compares a run with its own start, so none depends on the task.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from boostlm.statistics.paired import mcnemar

# A test is made for each arm, seed and round. At this two-sided level a model as good as its start
# is called worse in at most 1 of 500 rows: one false alarm in 25 runs of 4 arms and 5 rounds.
ALARM_P = 0.004
# Of the chance that two wrong answers to a prompt differ. Right answers are alike, so diversity
# among all answers shrinks when a model gets better; among wrong ones it does not.
DIVERSITY_LEFT = 0.5
SURE = (
    2.0  # standard errors by which a diversity or a change must differ from what it is compared to
)
LEAST_PROMPTS = 10  # with two wrong answers each; with fewer prompts, diversity is ignored
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


def tail_loss(log_weight_N: np.ndarray, logprob_NxK: np.ndarray, length_NxK: np.ndarray) -> float:
    """Loss on the hardest tenth, in nats a token: how unsure the model is where it fails most.

    The mean over the model's own responses to these prompts of -log p(response) / tokens, EOS
    included, at temperature 1. The prompts are those that weigh at least as much as the
    ceil(N / 10)-th heaviest; ties are all in, so that before any round it is all prompts. Near 0,
    the model has settled on its answers there; if they stay wrong, more of its own samples will
    not move it.

    Args:
      log_weight_N: float, difficulty.
      logprob_NxK: float64, of each response.
      length_NxK: int32, tokens.
    """
    N = len(log_weight_N)
    heaviest = np.sort(log_weight_N)[-max(1, int(np.ceil(TAIL * N)))]
    tail_N = np.asarray(log_weight_N) >= heaviest
    loss_NxK = -logprob_NxK / np.maximum(length_NxK, 1)
    return float(np.mean(loss_NxK[tail_N]))


def alarms(rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """The alarms of the last of one arm's rows of metrics: {kind: what was seen}, mostly empty.

    accuracy: greedy accuracy is below the seed model's, by McNemar's exact test at ALARM_P.
    diversity: for LASTING rounds less than DIVERSITY_LEFT of the seed model's diversity among wrong
      answers has been left, by SURE standard errors, while neither greedy accuracy was above the
      seed model's (by the same test) nor accuracy on training samples (by SURE standard errors).
    forgetting: in each of the last LASTING rounds more prompts left the solved set than entered it,
      by the same test. Chance alone moves as many out as in.

    Args:
      rows: the rows of rounds 0, 1, ...; it reads "test_accuracy", "wrong_diversity",
        "train_change", "churn" and "against_start". What was not measured is None, as the last
        three are in round 0.
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
    if all(_narrowed(start["wrong_diversity"], row) for row in last):
        before, after = (row["wrong_diversity"]["estimate"] for row in (start, now))
        found["diversity"] = (
            f"the chance that two wrong answers to a prompt differ fell from {before:.2f} to "
            f"{after:.2f} with no clear gain in accuracy"
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


def _narrowed(start: Mapping[str, Any] | None, row: Mapping[str, Any]) -> bool:
    """Whether a round's wrong answers are much less diverse, and the model no better."""
    now, change = row["wrong_diversity"], row["train_change"]
    if start is None or now is None or min(start["prompts"], now["prompts"]) < LEAST_PROMPTS:
        return False
    error = (now["se"] ** 2 + (DIVERSITY_LEFT * start["se"]) ** 2) ** 0.5
    better = change is not None and change["mean"] > SURE * change["se"]
    lower = now["estimate"] + SURE * error < DIVERSITY_LEFT * start["estimate"]
    return lower and not better and not _rose(row["against_start"])


def wrong_diversity(differ_N: np.ndarray, pairs_N: np.ndarray) -> dict[str, float] | None:
    """The chance that two wrong answers to a prompt differ, from `curation.diversity.wrong_pairs`.

    Returns:
      "estimate" and its standard error "se" over prompts, and "prompts", those with such a pair;
      None if there is none.
    """
    pairs = int(np.sum(pairs_N))
    if pairs == 0:
        return None
    estimate = float(np.sum(differ_N)) / pairs
    rest_N = np.asarray(differ_N, np.float64) - estimate * np.asarray(pairs_N)
    error = float(np.sqrt(np.sum(rest_N**2))) / pairs
    return {"estimate": estimate, "se": error, "prompts": int(np.sum(np.asarray(pairs_N) > 0))}


def paired_change(before_NxK: np.ndarray, now_NxK: np.ndarray) -> dict[str, float]:
    """The change in accuracy between two models' samples on the same prompts.

    Returns:
      "mean" over prompts, and its standard error "se".
    """
    change_N = now_NxK.mean(axis=1) - before_NxK.mean(axis=1)
    return {
        "mean": float(change_N.mean()),
        "se": float(change_N.std(ddof=1) / np.sqrt(len(change_N))) if len(change_N) > 1 else 1.0,
    }
