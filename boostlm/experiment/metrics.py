"""The row of metrics that a round leaves behind."""

from collections import Counter
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from boostlm.curation.diversity import distinct_fraction, wrong_pairs
from boostlm.curation.mixture import failing
from boostlm.curation.round import RoundState
from boostlm.experiment.context import RunContext
from boostlm.experiment.evaluate import Answers, by_group
from boostlm.experiment.round_arrays import Samples, Verdicts
from boostlm.experiment.stages import ArmStages
from boostlm.runtime.multihost import gather_blocks
from boostlm.statistics.audit import (
    Checked,
    Rate,
    draw_audit,
    draw_labels,
    false_accept_rate,
    miss_rate,
    right_rate,
)
from boostlm.statistics.collapse import (
    alarms,
    churn,
    paired_change,
    tail_loss,
    wrong_diversity,
)
from boostlm.statistics.paired import mcnemar_of
from boostlm.statistics.pass_at_k import pass_means
from boostlm.storage.ledger import Entry
from boostlm.storage.metrics_file import MetricsFile
from boostlm.storage.run_dir import RoundId


class Past(NamedTuple):
    """What a row is compared with.

    Attributes:
      rows: the same seed's and arm's rows of all rounds before.
      start_M: bool, the seed model's greedy verdicts on the evaluated split; None in round 0, or
        if their file is gone.
      start_NxK: bool, the exact verdicts on the seed model's samples; None likewise.
      accepted_NxK: bool, the filter's verdicts of the round before; None likewise.
      labels: what was bought for the training that made this round's model.
    """

    rows: list[dict[str, Any]]
    start_M: np.ndarray | None
    start_NxK: np.ndarray | None
    accepted_NxK: np.ndarray | None
    labels: list[Entry]


def past_of(stages: ArmStages, metrics: MetricsFile, id_: RoundId) -> Past:
    """What was committed before a round's model was measured."""
    if id_.round == 0:
        return Past([], None, None, None, [])
    start, samples = stages.start_answers(), stages.start_verdicts()
    before = stages.saved_verdicts(id_.round - 1)
    whole = stages.shards.whole
    return Past(
        [metrics.rows[id_._replace(round=r)] for r in range(id_.round)],
        None if start is None else start.greedy_M,
        None if samples is None else whole(samples.correct),
        None if before is None else whole(before.accepted),
        stages.labels_for(id_.round),
    )


def metrics_row(
    ctx: RunContext,
    id_: RoundId,
    state: RoundState,
    samples: Samples,
    on_devices: Verdicts,
    answers: Answers,
    past: Past,
) -> dict[str, Any]:
    """The row of a round's model. What was not measured is None.

    Args:
      ctx: the run's surroundings.
      id_: the round.
      state: after it.
      samples: the model's, on the training prompts.
      on_devices: the verdicts on those samples.
      answers: on the evaluated split.
      past: what the row is compared with.
    """
    whole = ctx.train_shards.whole
    verdicts = Verdicts(*map(whole, on_devices))
    distinct_N, differ_N, pairs_N, cut_off_N = map(
        whole, _by_prompt(samples.tokens_NxKxR, samples.finished_NxK, on_devices.correct)
    )
    log_weight_N, failures_N = whole(state.log_weight_N), whole(state.failures_N)
    weight_N = np.exp(log_weight_N.astype(np.float64))
    levels = range(id_.round + 1)
    solved_N = ~np.asarray(failing(verdicts.accepted))
    groups = ctx.task.prompts["train"].groups
    eval_groups = ctx.task.prompts[ctx.config.data.eval_split].groups
    sampled = answers.sampled_MxS if answers.sampled_MxS.shape[1] else None
    row = {
        "arm": id_.arm,
        "seed": id_.seed,
        "round": id_.round,
        "test_accuracy": float(np.mean(answers.greedy_M)),
        "eval_by_group": by_group(answers.greedy_M, eval_groups, np.mean),
        "eval_pass": None if sampled is None else pass_means(sampled),
        "eval_pass_by_group": None
        if sampled is None
        else by_group(sampled, eval_groups, pass_means),
        "train_accuracy": float(np.mean(verdicts.correct)),
        "train_pass": pass_means(verdicts.correct),
        "train_pass_by_group": by_group(verdicts.correct, groups, pass_means),
        "train_solved": float(np.mean(solved_N)),
        "accepted": float(np.mean(verdicts.accepted)),
        "labels_spent": int(state.labels_spent),
        "labels_kept": int(state.labels_kept),
        "labels_unanswered": unanswered_of(past.labels),
        "distinct": float(jnp.mean(jnp.asarray(distinct_N))),
        "wrong_diversity": wrong_diversity(differ_N, pairs_N),
        "cut_off": float(np.sum(cut_off_N) / verdicts.correct.size),
        "weight_by_group": by_group(weight_N, groups, np.sum),
        "weight_by_failures": [float(weight_N[failures_N == f].sum()) for f in levels],
        "prompts_by_failures": [int(np.sum(failures_N == f)) for f in levels],
        "train_loss": float(state.learner.loss),
        "tail_loss": tail_loss(
            log_weight_N, gather_blocks(lambda: samples.logprob_NxK), whole(samples.length_NxK)
        ),
        "churn": None,
        "against_start": None,
        "train_change": None
        if past.start_NxK is None
        else paired_change(past.start_NxK, verdicts.correct),
        **audit_of(id_, verdicts, past.labels, ctx.config.filter.audit),
    }
    if past.accepted_NxK is not None:
        row["churn"] = churn(~np.asarray(failing(past.accepted_NxK)), solved_N)._asdict()
    if past.start_M is not None:
        won, lost, _ = mcnemar_of(answers.greedy_M, past.start_M)
        row["against_start"] = {"won": won, "lost": lost}  # prompts, against the seed model
    row["alarms"] = alarms([*past.rows, row])
    return row


@jax.jit
def _by_prompt(
    tokens_NxKxR: Array, finished_NxK: Array, correct_NxK: Array
) -> tuple[Array, Array, Array, Array]:
    """The few numbers of each prompt's responses that hosts tell each other, each [N]."""
    cut_off_N = jnp.sum(~finished_NxK, axis=1, dtype=jnp.int32)
    return distinct_fraction(tokens_NxKxR), *wrong_pairs(tokens_NxKxR, correct_NxK), cut_off_N


def unanswered_of(labels: list[Entry]) -> dict[str, int]:
    """How many labels are unanswered for each reason, the most frequent first."""
    reasons = [entry.unanswered.partition(":")[0] for entry in labels if entry.unanswered]
    return dict(Counter(reasons).most_common())


def unanswered_in_words(asked: int, unanswered: dict[str, int]) -> str:
    """Such as "3 of 16 labels unanswered: 2 no text, 1 cut off by the length limit"; or ""."""
    if not unanswered:
        return ""
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in unanswered.items())
    return f"{sum(unanswered.values()):,} of {asked:,} labels unanswered: {reasons}"


def audit_of(id_: RoundId, verdicts: Verdicts, labels: list[Entry], size: int) -> dict[str, Any]:
    """The audit of a round: what was counted, and what it says of the labels and the filter.

    Only the verdicts on the drawn responses and labels are looked at.

    Args:
      id_: the round.
      verdicts: on the samples of all prompts, as numpy arrays.
      labels: bought for the last round of training.
      size: responses, and labels, to check.
    """
    accepted, correct = verdicts.accepted.reshape(-1), verdicts.correct.reshape(-1)
    drawn = draw_audit(id_.seed, id_.round, accepted, size)
    of = (int(accepted.sum()), int((~accepted).sum()))
    yes, no = (
        Checked(n, len(some), int(correct[some].sum())) for n, some in zip(of, drawn, strict=True)
    )
    picked = [labels[i] for i in draw_labels(id_.seed, id_.round, len(labels), size)]
    bought = Checked(len(labels), len(picked), sum(entry.correct for entry in picked))
    strata = [Checked(*([count] for count in part)) for part in (yes, no, bought)]
    counts = {"accepted": yes, "rejected": no, "labels": bought}
    return {
        "audit": {name: part._asdict() for name, part in counts.items()},
        "beta": as_row(right_rate(strata[2])) if picked else None,
        "miss_rate": as_row(miss_rate(strata[0], strata[1])),
        "false_accept_rate": as_row(false_accept_rate(strata[0], strata[1])),
    }


def as_row(rate: Rate) -> dict[str, float | None]:
    """A rate as JSON has it; an estimate that cannot be made is None."""
    estimate, low, high = (float(x) for x in rate)
    return {"estimate": None if np.isnan(estimate) else estimate, "low": low, "high": high}
