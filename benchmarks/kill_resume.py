"""Kills a run with SIGKILL at random times, resumes it, and compares the results.

    python benchmarks/kill_resume.py --kills 20

First, a tiny run of all four arms runs without interruption. Then the same run is killed at random
times and restarted with the same command until it ends; this is repeated in new folders until the
number of kills is reached. The parameters of every kept checkpoint, the metrics (except `seconds`),
the label ledger and the stage files must equal the first run's bit for bit. Exits with status 1 if
they do not.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
OPTIMIZER = {"steps": 4, "batch_size": 8, "warmup_steps": 2}
OPTIONS = {
    "name": "tiny",
    "rounds": 2,
    "data.train_prompts": 24,
    "data.eval_prompts": 24,
    "model.layers": 1,
    "model.width": 16,
    "model.heads": 2,
    "model.kv_heads": 1,
    "model.head_dim": 8,
    "model.mlp_width": 16,
    "sample.k": 2,
    "sample.batch_size": 48,
    "filter.miss_rate": 0.1,
    "filter.false_accept_rate": 0.3,
    "label.budget": 8,
    **{f"seed_model.optimizer.{k}": v for k, v in OPTIMIZER.items()},
    **{f"train.optimizer.{k}": v for k, v in OPTIMIZER.items()},
}


def main() -> int:
    parser = argparse.ArgumentParser(description="Kill and resume: is the result the same?")
    parser.add_argument("--kills", type=int, default=20, help="minimum number of kills")
    parser.add_argument("--seed", type=int, default=0, help="random seed of the kill times")
    parser.add_argument("--work-dir", help="folder for the runs; default: a temporary folder")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(args.work_dir or temporary)
        os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(work / "cache"))
        return compare(work, args.kills, random.Random(args.seed))


def compare(work: Path, wanted: int, rng: random.Random) -> int:
    whole = work / "whole"
    live(whole)  # fills the compilation cache
    span = min(live(work / "warm"), 10.0)
    same = {what: True for what in outcome(whole)}
    same_as_first(outcome(whole), outcome(work / "warm"), same)
    kills = starts = runs = 0
    while kills < wanted:
        root, runs = work / f"killed{runs}", runs + 1
        while True:
            starts += 1
            # At most half of a run, so that most starts are killed and all make progress.
            if live(root, rng.uniform(0, span / 2) if kills < wanted else None) is not None:
                break
            kills += 1
        same_as_first(outcome(whole), outcome(root), same)
    print(f"{kills} kills, {starts} starts, {runs} completed runs; {span:.1f} s per whole run")
    for what, alike in same.items():
        print(f"{what}: {'identical' if alike else 'DIFFERENT'}")
    return 0 if all(same.values()) else 1


def live(root: Path, seconds: float | None = None) -> float | None:
    """Runs to the end, or kills the run `seconds` after its first output line.

    Returns:
      The seconds from the first line to the end, or None if the run was killed.
    """
    command = [sys.executable, "-m", "boostlm", "run", "--run-dir", str(root)]
    command += [f"--{name}={value}" for name, value in OPTIONS.items()]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment()) as process:
        first = process.stdout.readline()
        began = time.monotonic()
        try:
            process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            return None
    if process.returncode or not first:
        raise SystemExit(f"the run failed with status {process.returncode}: see its output above")
    return time.monotonic() - began


def environment() -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
    return kept | {
        "PYTHONPATH": str(REPOSITORY),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }


def outcome(root: Path) -> dict[str, dict]:
    lines = (root / "metrics.jsonl").read_text().splitlines()
    rows = [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in lines]
    return {
        "parameters": parameters(root / "rounds"),
        "metrics": {(r["seed"], r["arm"], r["round"]): r for r in rows},
        "ledger": contents(root / "rounds", "ledger.jsonl"),
        "stages": contents(root / "rounds", "*.npz"),
    }


def contents(folder: Path, name: str) -> dict[str, bytes]:
    files = sorted(folder.glob(f"seed*/*/round*/{name}"))
    return {str(p.relative_to(folder)): p.read_bytes() for p in files}


def parameters(folder: Path) -> dict[str, bytes]:
    """Every array of every kept checkpoint."""
    import jax
    import numpy as np
    import orbax.checkpoint as ocp

    arrays = {}
    with ocp.PyTreeCheckpointer() as checkpointer:
        for path in sorted(folder.glob("seed*/*/round*/checkpoint")):
            metadata = checkpointer.metadata(path).item_metadata.tree
            as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), metadata)
            tree = checkpointer.restore(path, restore_args=as_numpy)
            for name, x in jax.tree_util.tree_leaves_with_path(tree):
                key = str(path.relative_to(folder)) + jax.tree_util.keystr(name)
                arrays[key] = str(np.asarray(x).dtype).encode() + np.asarray(x).tobytes()
    return arrays


def same_as_first(first: dict, other: dict, same: dict[str, bool]) -> None:
    for what, expected in first.items():
        if not expected or expected != other[what]:
            same[what] = False


if __name__ == "__main__":
    sys.exit(main())
