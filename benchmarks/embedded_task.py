"""All presets on the embedded task, with the controls that a claim about it needs.

    python benchmarks/embedded_task.py FOLDER [--seeds 5] [--arms NAMES]

Runs every preset, and uniform and boosting with labels that no filter sorts, from the same seed
models. Prints each arm's accuracy, labels and the ideal learner's curve beside the measured one,
each difference of PAIRS with its 95% interval over seeds and prompts, and what raised an alarm. A
run that was stopped goes on, and one with fewer seeds or arms grows.
"""

import argparse
from pathlib import Path

import numpy as np

from boostlm.cli.main import main as boostlm
from boostlm.curation.arms import ARMS
from boostlm.report.run_data import RunData
from boostlm.report.write import read_run
from boostlm.statistics.intervals import Estimate, crossed_interval
from boostlm.storage.run_dir import RunDir

RUN = (
    *ARMS,
    "unfiltered_uniform=uniform(label.filter_labels=false)",
    "unfiltered_boosting=boosting(label.filter_labels=false)",
)
PAIRS = {
    "labels": ("boosting - filter_only", "uniform - filter_only", "oracle - boosting"),
    "additional data, not the method?": ("boosting - supervised", "filter_only - supervised"),
    "labels on failing prompts": ("uniform_failing - uniform", "boosting - uniform"),
    "reweighting": (
        "boosting - uniform_failing",
        "boosting_training - uniform_failing",
        "boosting_both - uniform_failing",
        "boosting - hardest_static",
    ),
    "filtering labels": (
        "boosting - unfiltered_boosting",
        "uniform - unfiltered_uniform",
        "unfiltered_boosting - filter_only",
        "unfiltered_uniform - filter_only",
    ),
    "what else trains": (
        "one_per_prompt - filter_only",
        "rest_em - filter_only",
        "star - one_per_prompt",
        "accumulate - do_nothing",
    ),
    "no curation": ("do_nothing - start", "self_distill - start", "accumulate - start"),
}


def answers(data: RunData, arm: str, round_: int, seeds: int) -> np.ndarray:
    """Greedy verdicts [seeds, prompts] of an arm after a round."""
    return np.stack([data.answered[arm, seed, round_] for seed in range(seeds)]).astype(float)


def told(e: Estimate) -> str:
    """An estimate in points."""
    assert e.low is not None
    assert e.high is not None
    return f"{100 * e.mean:+6.1f}  ({100 * e.low:+.1f} to {100 * e.high:+.1f})"


def curves(data: RunData, arm: str) -> str:
    """Training accuracy after the last round, and what an ideal learner would have."""
    rows = data.last_rows(arm)
    measured = np.mean([row["train_accuracy"] for row in rows])
    labels = np.mean([row["labels_spent"] for row in rows])
    ideal = data.predicted_by_round(arm)
    told_ideal = "" if ideal is None else f", ideal learner {100 * ideal.mean[-1]:.1f}"
    return f"{labels:6.0f} labels, training {100 * measured:.1f}{told_ideal}"


def main() -> None:
    """Runs everything, then prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--arms", default=",".join(RUN))
    args = parser.parse_args()
    words = ["run", "--run-dir", str(args.folder), "--seeds", str(args.seeds), "--arms", args.arms]
    if status := boostlm(words):
        raise SystemExit(status)
    data = read_run(RunDir(args.folder))
    last = {"start": answers(data, data.arms[0], 0, args.seeds)}
    for arm in data.arms:
        last[arm] = answers(data, arm, data.config["rounds"], args.seeds)
    print(f"\n{args.seeds} seeds, {last['start'].shape[1]} test prompts; 95% intervals over both")
    for arm, value in last.items():
        told_arm = "" if arm == "start" else curves(data, arm)
        print(f"{arm:20s} {told(crossed_interval(value))}  {told_arm}")
    for topic, pairs in PAIRS.items():
        print(f"\n{topic}")
        for one, other in (pair.split(" - ") for pair in pairs):
            if one in last and other in last:
                difference = told(crossed_interval(last[one] - last[other]))
                print(f"  {one} - {other}: {difference}")
    for row in data.rows:
        for kind in row["alarms"]:
            print(f"alarm: {row['arm']}, seed {row['seed']}, round {row['round']}: {kind}")


if __name__ == "__main__":
    main()
