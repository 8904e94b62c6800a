"""Counts the calls between the package's files during one round of the built-in task.

A reader who follows a round makes the same moves from file to file, so their number measures how
easy the code is to follow. The second round of `boosting` is counted, after all programs have been
compiled. A move is a Python call from one file of boostlm/ directly into another. Consecutive calls
between the same two files count once, so a loop over prompts is one move.

    python benchmarks/file_moves.py             prints the totals
    python benchmarks/file_moves.py --list      also prints every pair of files

Prints the number of moves, and the share of them into `storage/` and `runtime/`.
"""

import argparse
import dataclasses
import io
import os
import sys
import tempfile
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import boostlm
from boostlm.config import Config
from boostlm.experiment import run
from boostlm.experiment.context import make_context
from boostlm.runtime.progress import Progress
from boostlm.storage.run_dir import RunDir

PACKAGE = str(Path(boostlm.__file__).parent) + os.sep
PLUMBING = ("storage" + os.sep, "runtime" + os.sep)


class MoveCounter:
    """A profile function that counts moves."""

    def __init__(self) -> None:
        self.moves: Counter[tuple[str, str]] = Counter()
        self._last: tuple[str, str] | None = None

    def __call__(self, frame: FrameType, event: str, arg: Any) -> None:
        caller = frame.f_back
        if event != "call" or caller is None:
            return
        source, target = caller.f_code.co_filename, frame.f_code.co_filename
        if source == target or not (source.startswith(PACKAGE) and target.startswith(PACKAGE)):
            return
        move = source.removeprefix(PACKAGE), target.removeprefix(PACKAGE)
        if move != self._last:
            self.moves[move] += 1
        self._last = move


def count_second_round() -> Counter[tuple[str, str]]:
    """The moves of round 2 of boosting, with the built-in task's default sizes and few steps."""
    config = Config(rounds=2, arms=("boosting",))
    seed_model = dataclasses.replace(
        config.seed_model, optimizer=dataclasses.replace(config.seed_model.optimizer, steps=200)
    )
    train = dataclasses.replace(
        config.train, optimizer=dataclasses.replace(config.train.optimizer, steps=60)
    )
    config = dataclasses.replace(config, seed_model=seed_model, train=train)
    counter, rows_seen = MoveCounter(), 0

    class Switch(Progress):
        def at(self, where: str) -> None:
            super().at(where)
            sys.setprofile(counter if "round 2/2" in where else None)

    with tempfile.TemporaryDirectory() as folder:
        run_dir = RunDir(Path(folder) / "run")
        with run_dir.locked():
            run_dir.create(config)
            progress = Switch(run.planned_stages(config), io.StringIO())
            rows_seen = len(run.run_experiment(make_context(config, run_dir), run_dir, progress))
    sys.setprofile(None)
    assert rows_seen == 3, "the run ended early"
    return counter.moves


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--list", action="store_true", help="print every pair of files")
    options = parser.parse_args()
    moves = count_second_round()
    total = sum(moves.values())
    plumbing = sum(n for (_, target), n in moves.items() if target.startswith(PLUMBING))
    if options.list:
        for (source, target), n in moves.most_common():
            print(f"{n:4d}  {source} -> {target}")
    print(f"{total} moves, {plumbing / total:.0%} of them into storage and runtime")


if __name__ == "__main__":
    main()
