"""A run that takes seconds: its config, its results to compare, and the command line."""

import dataclasses
import fcntl
import functools
import json
import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import jax
import numpy as np

from boostlm.config import (
    Config,
    DataConfig,
    FilterConfig,
    LabelConfig,
    ModelConfig,
    OptimizerConfig,
    SampleConfig,
    SeedModelConfig,
    TrainConfig,
)
from boostlm.config_io import fields_of
from boostlm.engine.training_rows import TrainingRows
from boostlm.experiment import context
from boostlm.lm.language_model import NO_PREFIX
from support.data_sets import REPOSITORY

OPTIMIZER = OptimizerConfig(steps=4, batch_size=8, warmup_steps=2)


def tiny_config(**changes):
    """Four arms, two rounds. The filter errs, so that no arm's training set is empty."""
    config = Config(
        name="tiny",
        rounds=2,
        data=DataConfig(train_prompts=24, eval_prompts=24),
        model=ModelConfig(layers=1, width=16, heads=2, kv_heads=1, head_dim=8, mlp_width=16),
        seed_model=SeedModelConfig(OPTIMIZER),
        sample=SampleConfig(k=2, batch_size=48),
        filter=FilterConfig(miss_rate=0.1, false_accept_rate=0.6),
        label=LabelConfig(budget=8),
        train=TrainConfig(optimizer=OPTIMIZER),
    )
    return Config(**{**vars(config), **changes})


def on_one_device(ctx):
    """The same surroundings with a learner on one device, which compiles sooner."""
    config, stops = ctx.config, ctx.learner.sampler.stop_sequences
    learner = context.make_learner(
        config, config.model, ctx.tokenizer.vocab_size, stops, jax.local_devices()[:1]
    )
    return dataclasses.replace(ctx, learner=learner)


def full_logits(model):
    """(params, tokens_BxT) -> logits_BxTxV of a `LanguageModel`."""
    return lambda params, tokens: model.unembed(params, model.hidden(params, tokens, NO_PREFIX))


def given_rows(batch):
    """Rows to train on that are there already, as a numpy Batch [C, T]."""
    width = batch.tokens_BxT.shape[1]
    length_C = width - np.argmax(batch.weight_BxT[:, ::-1] > 0, axis=1)
    return TrainingRows(lambda rows_B: jax.tree.map(lambda x: x[rows_B], batch), length_C)


def as_options(config):
    """The command-line options that make `config` of the default one."""
    default = fields_of(Config())
    options = []
    for name, value in fields_of(config).items():
        if value != default[name]:
            options += [f"--{name}", ",".join(value) if isinstance(value, tuple) else str(value)]
    return options


def rows_of(root):
    """metrics.jsonl without what depends on the machine."""
    lines = (Path(root) / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in lines]


def bits(tree):
    """Every array of a pytree: path, dtype, shape and bytes."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    arrays = {jax.tree_util.keystr(path): np.asarray(x) for path, x in leaves}
    return {name: (str(x.dtype), x.shape, x.tobytes()) for name, x in arrays.items()}


def environment():
    """JAX as in the tests, but with one device."""
    kept = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
    return kept | {
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "PYTHONPATH": str(REPOSITORY),
        "COLUMNS": "100",
    }


def command(*arguments):
    """`boostlm ...` as a list of words."""
    return [sys.executable, "-m", "boostlm", *map(str, arguments)]


def boostlm(*arguments, **options):
    """Runs the command line in a process of its own; see `subprocess.run`."""
    return subprocess.run(
        command(*arguments),
        capture_output=True,
        text=True,
        env=environment(),
        timeout=300,
        **options,
    )


@functools.cache
def finished_run():
    """(folder, what it printed) of a whole tiny run from the command line. Read only.

    It is made once for all workers, beside what they compile (see conftest).
    """
    folder = Path(os.environ["JAX_COMPILATION_CACHE_DIR"]) / "finished"
    folder.mkdir(parents=True, exist_ok=True)
    root, printed = folder / "run", folder / "printed"
    with (folder / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not printed.exists():
            done = boostlm("run", "--run-dir", root, *as_options(tiny_config()))
            assert done.returncode == 0, done.stderr
            printed.write_text(done.stdout)
    return root, printed.read_text()


@contextmanager
def started(*arguments, **options):
    """A `boostlm` process that is killed at the end of the block if it still runs."""
    process = subprocess.Popen(
        command(*arguments),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
        **options,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def ledger_files(root, arm="*"):
    """The ledgers of all rounds below a run directory."""
    return sorted(Path(root).glob(f"rounds/seed*/{arm}/round*/ledger.jsonl"))


def stage_files(root):
    """The files of all stages: ledgers, samples, verdicts and answers."""
    return sorted(p for p in Path(root).glob("rounds/*/*/*/*") if p.suffix in (".npz", ".jsonl"))


def files_and_times(root, but=()):
    """Contents and times of the files below a folder, but for those of these names."""
    files = [p for p in Path(root).rglob("*") if p.is_file() and p.name not in but]
    return {str(p): (p.read_bytes(), p.stat().st_mtime_ns) for p in files}
