"""The row of metrics that a round leaves behind."""

from typing import Any, NamedTuple

import numpy as np

from boostlm.lm.generate import Responses
from boostlm.curation.mixture import failing
from boostlm.curation.round import RoundState
from boostlm.curation.diversity import distinct_fraction
from boostlm.storage.stage_arrays import load_arrays
from boostlm.experiment.evaluate import Answers, by_band
from boostlm.storage.ledger import Entry, Ledger
from boostlm.storage.run_dir import Metrics, RunDir
from boostlm.experiment.stages import Place
from boostlm.experiment.context import Workbench
from boostlm.statistics.audit import (
    Checked,
    Rate,
    draw_audit,
    draw_labels,
    false_accept_rate,
    miss_rate,
    right_rate,
)
from boostlm.statistics.collapse import alarms, churn, tail_loss
from boostlm.statistics.paired import mcnemar_of
from boostlm.statistics.pass_at_k import pass_means


class Past(NamedTuple):
    """What a row is compared with.

    Attributes:
      rows: the same seed's and arm's rows of all rounds before.
      start_M: bool, the seed model's greedy verdicts on the evaluated split; None in round 0, or
        if their file is gone.
      accepted_NxK: bool, the filter's verdicts of the round before; None likewise.
      labels: what was bought for the training that made this round's model.
    """

    rows: list[dict[str, Any]]
    start_M: np.ndarray | None
    accepted_NxK: np.ndarray | None
    labels: list[Entry]


def past_of(run_dir: RunDir, metrics: Metrics, place: Place, round_: int) -> Past:
    """What was committed before `round_` rounds were done."""
    if round_ == 0:
        return Past([], None, None, [])
    start = load_arrays(run_dir.stage_path(*_of(place), 0, "eval"), Answers._fields)
    before = load_arrays(run_dir.stage_path(*_of(place), round_ - 1, "verdicts"), ("accepted",))
    entries = Ledger(run_dir.ledger_path(*_of(place), round_ - 1)).entries
    return Past(
        [metrics.row(*_of(place), r) for r in range(round_)],
        None if start is None else start["greedy_M"],
        None if before is None else before["accepted"],
        [entries[pair] for pair in sorted(entries)],
    )


def _of(place: Place) -> tuple[int, str]:
    return place.seed, place.arm


def metrics_row(
    bench: Workbench,
    place: Place,
    round_: int,
    state: RoundState,
    responses: Responses,
    verdict: dict[str, np.ndarray],
    answers: Answers,
    past: Past,
) -> dict[str, Any]:
    """The row of the model after `round_` rounds. What was not measured is None.

    Args:
      bench: the run's surroundings.
      place: seed and arm.
      round_: rounds of training so far.
      state: after them.
      responses: the model's samples on the training prompts.
      verdict: on those samples, see `verdicts`.
      answers: on the evaluated split.
      past: see there.
    """
    weight_N = np.exp(np.asarray(state.log_weight_N, np.float64))
    failures_N = np.asarray(state.failures_N)
    levels = range(round_ + 1)
    solved_N = ~np.asarray(failing(verdict["accepted"]))
    bands = bench.task.prompts["train"].bands
    eval_bands = bench.task.prompts[bench.config.data.eval_split].bands
    sampled = answers.sampled_MxS if answers.sampled_MxS.shape[1] else None
    row = {
        "arm": place.arm,
        "seed": place.seed,
        "round": round_,
        "test_accuracy": float(np.mean(answers.greedy_M)),
        "eval_by_band": by_band(answers.greedy_M, eval_bands, np.mean),
        "eval_pass": None if sampled is None else pass_means(sampled),
        "eval_pass_by_band": None if sampled is None else by_band(sampled, eval_bands, pass_means),
        "train_accuracy": float(np.mean(verdict["correct"])),
        "train_pass": pass_means(verdict["correct"]),
        "train_pass_by_band": by_band(verdict["correct"], bands, pass_means),
        "train_solved": float(np.mean(solved_N)),
        "accepted": float(np.mean(verdict["accepted"])),
        "labels_spent": int(state.labels_spent),
        "labels_kept": int(state.labels_kept),
        "distinct": float(np.mean(distinct_fraction(responses.tokens_BxKxR))),
        "cut_off": float(np.mean(~responses.finished_BxK)),
        "weight_by_band": by_band(weight_N, bands, np.sum),
        "weight_by_failures": [float(weight_N[failures_N == f].sum()) for f in levels],
        "prompts_by_failures": [int(np.sum(failures_N == f)) for f in levels],
        "train_loss": float(state.learner.loss),
        "tail_loss": tail_loss(
            np.asarray(state.log_weight_N), responses.logprob_BxKxR, responses.length_BxK
        ),
        "churn": None,
        "against_start": None,
        **audit_of(place.seed, round_, verdict, past.labels, bench.config.filter.audit),
    }
    if past.accepted_NxK is not None:
        row["churn"] = churn(~np.asarray(failing(past.accepted_NxK)), solved_N)._asdict()
    if past.start_M is not None:
        won, lost, _ = mcnemar_of(answers.greedy_M, past.start_M)
        row["against_start"] = {"won": won, "lost": lost}  # prompts, against the seed model
    row["alarms"] = alarms([*past.rows, row], bench.config.sample.k)
    return row


def audit_of(
    seed: int, round_: int, verdict: dict[str, np.ndarray], labels: list[Entry], size: int
) -> dict[str, Any]:
    """The audit of a round: what was counted, and what it says of the labels and the filter.

    Only the verdicts on the drawn responses and labels are looked at.

    Args:
      seed: of the run.
      round_: rounds of training so far.
      verdict: on the samples, see `verdicts`.
      labels: bought for the last round of training.
      size: responses, and labels, to check.
    """
    accepted, correct = verdict["accepted"].reshape(-1), verdict["correct"].reshape(-1)
    drawn = draw_audit(seed, round_, accepted, size)
    of = (int(accepted.sum()), int((~accepted).sum()))
    yes, no = (
        Checked(n, len(some), int(correct[some].sum())) for n, some in zip(of, drawn, strict=True)
    )
    picked = [labels[i] for i in draw_labels(seed, round_, len(labels), size)]
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
