"""Whether the fast tests notice a change of the method: python tests/mutations.py [NAME ...]

Each mutation is made to a copy of the repository, one at a time, and the fast tests that could see
it are run there. Prints which test failed first; exits 1 if a mutation passed unseen.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

REPOSITORY = Path(__file__).parents[1]
# The golden run first, as it sees most; then the other tests of the method.
GOLDEN = ("tests/golden",)
TESTS = ("tests/curation", "tests/lm", "tests/engine", "tests/experiment", "tests/labelers")


class Mutation(NamedTuple):
    """A text of a file of the package, and what replaces it."""

    file: str
    old: str
    new: str


MUTATIONS = {
    "the same PRNG key in every round": Mutation(
        "prng.py", "jax.random.key(seed), int(purpose)), round_)", "jax.random.key(seed), int(purpose)), 0)"
    ),
    "labels kept by the exact verdict": Mutation(
        "experiment/labeling.py", "accepted = answered and verdict[correct]", "accepted = correct"
    ),
    "alpha fixed": Mutation("experiment/arm_run.py", "config.train.alpha, places)", "1 / 3, places)"),
    "theta 0": Mutation("experiment/arm_run.py", "theta_from_beta(config.label.beta)", "0.0"),
    "clipping off": Mutation(
        "lm/train_step.py", "        optax.clip_by_global_norm(config.clip_norm),\n", ""
    ),
    "warm-up off": Mutation("lm/train_step.py", "optax.adamw(rate,", "optax.adamw(config.learning_rate,"),
    "b2 0.999": Mutation("lm/train_step.py", "b2=0.95", "b2=0.999"),
    "weight decay ignored": Mutation(
        "lm/train_step.py", "weight_decay=config.weight_decay", "weight_decay=0.0"
    ),
    "miss and false-accept rates swapped": Mutation(
        "experiment/stages.py",
        "(ctx.config.filter.miss_rate, ctx.config.filter.false_accept_rate)",
        "(ctx.config.filter.false_accept_rate, ctx.config.filter.miss_rate)",
    ),
    "miss and false-accept rates of labels swapped": Mutation(
        "experiment/labeling.py",
        "(ctx.config.filter.miss_rate, ctx.config.filter.false_accept_rate)",
        "(ctx.config.filter.false_accept_rate, ctx.config.filter.miss_rate)",
    ),
    "reset_optimizer ignored": Mutation(
        "experiment/stages.py",
        "return learner._replace(optimizer_state=None) if config.reset_optimizer else learner",
        "return learner._replace(optimizer_state=None)",
    ),
    "the label's sample number ignored": Mutation(
        "labelers/simulated.py", "query.prompt, query.sample]", "query.prompt, 0]"
    ),
    "the allocation's key constant": Mutation(
        "experiment/arm_run.py", "Purpose.ALLOCATE, round_ - 1)", "Purpose.ALLOCATE, 0)"
    ),
    "own samples weighted by count": Mutation(
        "curation/mixture.py",
        "each_synthetic = (1.0 - weak_part) / jnp.maximum(synthetic, 1)",
        "each_synthetic = each_weak",
    ),
    "eval split train": Mutation(
        "experiment/context.py", 'eval_prompts=prompts[split]', 'eval_prompts=prompts["train"]'
    ),
    "EOS left out of the loss": Mutation(
        "engine/training_rows.py",
        "(in_response_BxT & valid_B[:, None])",
        "(in_response_BxT & valid_B[:, None] & (place_1xT < end_Bx1 - 1))",
    ),
    "cut-off responses counted as right": Mutation(
        "experiment/stages.py",
        "return right & shards.local(samples.finished_NxK)",
        "return right",
    ),
    "cut-off labels counted as right": Mutation(
        "experiment/labeling.py", "correct = correct and answered", "correct = correct"
    ),
    "cut-off answers counted as right": Mutation(
        "experiment/evaluate.py", ".reshape(-1, k) & finished", ".reshape(-1, k)"
    ),
    "top-p applied before temperature": Mutation(
        "lm/token_sampling.py",
        "prob = jax.nn.softmax(logits, axis=-1)",
        "prob = jax.nn.softmax(logits * sampling.temperature, axis=-1)",
    ),
}  # fmt: skip


def caught_by(mutation: Mutation, cache: str) -> str | None:
    """The first fast test that fails with this mutation, or None; `cache` is for compilations."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "copy"
        skip = shutil.ignore_patterns(".git", "_build", "__pycache__", ".venv", "*.egg-info")
        shutil.copytree(REPOSITORY, copy, ignore=skip)
        file = copy / "boostlm" / mutation.file
        text = file.read_text()
        assert text.count(mutation.old) >= 1, mutation
        file.write_text(text.replace(mutation.old, mutation.new))
        options = ["-x", "-n", "0", "-m", "not slow", "-p", "no:cacheprovider", "--tb=no", "-rf"]
        for tests in (GOLDEN, TESTS):
            done = subprocess.run(
                [sys.executable, "-m", "pytest", *options, *tests],
                cwd=copy,
                env=os.environ | {"PYTHONPATH": str(copy), "JAX_COMPILATION_CACHE_DIR": cache},
                capture_output=True,
                text=True,
            )
            failed = [s for s in done.stdout.splitlines() if s.startswith(("FAILED", "ERROR"))]
            if failed:
                return failed[0]
    return None


def main() -> int:
    """Tries the named mutations, or all; returns how many passed unseen."""
    unseen = 0
    with tempfile.TemporaryDirectory() as cache:
        for name in sys.argv[1:] or MUTATIONS:
            found = caught_by(MUTATIONS[name], cache)
            unseen += found is None
            print(f"{name}: {found or 'NOT CAUGHT'}", flush=True)
    return unseen


if __name__ == "__main__":
    sys.exit(min(1, main()))
