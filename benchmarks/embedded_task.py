"""The embedded task with the controls that a claim about it needs.

    python benchmarks/embedded_task.py FOLDER [--seeds 5]

Runs, from the same seed models, the four arms; uniform and boosting with labels that no filter
sorts; and boosting with theta 0, whose labels go to failing prompts whatever their difficulty.
Prints each arm's accuracy and each difference with its 95% interval over seeds and prompts, and
what raised an alarm. A run that was stopped goes on.
"""

import argparse
import contextlib
import shutil
from pathlib import Path
from unittest import mock

import numpy as np

from boostlm.cli.main import main as boostlm
from boostlm.config import Config
from boostlm.config_io import override
from boostlm.report.run_data import RunData
from boostlm.report.write import read_run
from boostlm.statistics.intervals import Estimate, crossed_interval
from boostlm.storage.run_dir import RunDir

RUNS = {
    "main": ["--arms", "do_nothing,filter_only,uniform,boosting"],
    "unfiltered": ["--arms", "uniform,boosting", "--label.filter_labels", "false"],
    "theta0": ["--arms", "boosting"],
}
PAIRS = (
    ("main boosting", "main filter_only"),
    ("main boosting", "main uniform"),
    ("main boosting", "theta0 boosting"),
    ("theta0 boosting", "main uniform"),
    ("main boosting", "unfiltered boosting"),
    ("unfiltered boosting", "main filter_only"),
    ("unfiltered uniform", "main filter_only"),
)


def run(folder: Path, name: str, seeds: int) -> RunData:
    """Runs one of RUNS and reads it."""
    options = ["--seeds", str(seeds), *RUNS[name]]
    if name != "main":
        share_seed_models(folder / "main", folder / name, options)
    words = ["run", "--run-dir", str(folder / name), *options]
    theta = mock.patch("boostlm.experiment.run.theta_from_beta", return_value=0.0)
    with theta if name == "theta0" else contextlib.nullcontext():
        if status := boostlm(words):
            raise SystemExit(status)
    return read_run(RunDir(folder / name), predictions=False)


def share_seed_models(source: Path, target: Path, options: list[str]) -> None:
    """Begins a run with the seed models, and their samples, of another."""
    RunDir(target).create(override(Config(), options))
    for shared in source.glob("rounds/seed*/shared"):
        shutil.copytree(shared, target / shared.relative_to(source), dirs_exist_ok=True)


def answers(data: RunData, arm: str, round_: int, seeds: int) -> np.ndarray:
    """Greedy verdicts [seeds, prompts] of an arm after a round."""
    return np.stack([data.answered[arm, seed, round_] for seed in range(seeds)]).astype(float)


def told(e: Estimate) -> str:
    """An estimate in points."""
    assert e.low is not None
    assert e.high is not None
    return f"{100 * e.mean:+6.1f}  ({100 * e.low:+.1f} to {100 * e.high:+.1f})"


def main() -> None:
    """Runs everything, then prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    args = parser.parse_args()
    found = {name: run(args.folder, name, args.seeds) for name in RUNS}
    last = {}
    for name, data in found.items():
        for arm in data.arms:
            rounds = data.config["rounds"]
            last[f"{name} {arm}"] = answers(data, arm, rounds, args.seeds)
    start = answers(found["main"], "boosting", 0, args.seeds)
    print(f"\n{args.seeds} seeds, {start.shape[1]} test prompts; 95% intervals over both")
    print(f"{'start':25s} {told(crossed_interval(start))}")
    for name, value in last.items():
        print(f"{name:25s} {told(crossed_interval(value))}")
    for one, other in PAIRS:
        print(f"{one} - {other}: {told(crossed_interval(last[one] - last[other]))}")
    print(f"do_nothing - start: {told(crossed_interval(last['main do_nothing'] - start))}")
    for name, data in found.items():
        for row in data.rows:
            for kind in row["alarms"]:
                where = f"{name} {row['arm']}, seed {row['seed']}, round {row['round']}"
                print(f"alarm: {where}: {kind}")


if __name__ == "__main__":
    main()
