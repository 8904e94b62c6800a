"""Two tiny runs that together use every part of the method, and what is stored of them.

Remake the stored results with

    python -m tests.golden.remake

from the repository's root, only for a change that is meant to change numbers; say so in CHANGELOG.md.
"""

import contextlib
import dataclasses
import hashlib
import io
import json
import os
import platform
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
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
from boostlm.experiment.context import RunContext, make_context
from boostlm.experiment.resume import load_state, shapes_of
from boostlm.experiment.run import planned_stages, run_experiment
from boostlm.runtime.progress import Progress
from boostlm.storage.ledger import read_ledger
from boostlm.storage.run_dir import RoundId, RunDir

HERE = Path(__file__).parent
TASK = f"{HERE / 'prefix_task.py'}:PrefixTask"  # its prompts share a prefix of several tokens

OPTIMIZER = OptimizerConfig(
    steps=24,
    batch_size=16,
    learning_rate=1e-2,
    warmup_steps=6,
    weight_decay=0.1,
    clip_norm=0.3,
)
MAIN = Config(
    name="golden",
    rounds=2,
    seeds=2,
    data=DataConfig(task=TASK, train_prompts=24, eval_prompts=24, max_prompt_tokens=24),
    model=ModelConfig(layers=1, width=16, heads=2, kv_heads=1, head_dim=8, mlp_width=16),
    seed_model=SeedModelConfig(OPTIMIZER),
    sample=SampleConfig(k=3, temperature=0.8, top_p=0.9, max_new_tokens=4, batch_size=48, eval_k=3),
    filter=FilterConfig(miss_rate=0.1, false_accept_rate=0.3, audit=16),
    label=LabelConfig(beta=0.4, budget=16),
    train=TrainConfig(alpha=0.4, reset_optimizer=False, optimizer=OPTIMIZER),
)
LORA = Config(
    **{
        **vars(MAIN),
        "arms": ("boosting",),
        "seeds": 1,
        "train": TrainConfig(lora_rank=2, optimizer=MAIN.train.optimizer),
    }
)
RUNS = {"main": MAIN, "lora": LORA}


def facts() -> dict[str, str]:
    """What may change the last bits of a float."""
    return {
        "machine": platform.machine(),
        "processor": _processor(),
        "jax": jax.__version__,
        "jaxlib": jax.lib.__version__,
        "probe": _probe(),
    }


def _processor() -> str:
    """A hash of what XLA and Eigen choose instructions and block sizes by."""
    info, caches = Path("/proc/cpuinfo"), Path("/sys/devices/system/cpu/cpu0/cache")
    names = ("vendor_id", "cpu family", "model", "stepping", "flags", "Features", "CPU part")
    lines = info.read_text().partition("\n\n")[0].splitlines() if info.exists() else []
    known = [line for line in lines if line.partition("\t")[0].strip() in names]
    known += [path.read_text() for path in sorted(caches.glob("index*/size"))]
    known.append(str(os.cpu_count()))
    return hashlib.sha256("\n".join(known).encode()).hexdigest()[:16]


def _probe() -> str:
    """A hash of what a computation like a training step, with none of our code, gives here."""

    def loss(w, x):
        hidden = jnp.tanh(x @ w["in"] + (x @ w["a"]) @ w["b"])
        scores = jax.nn.softmax(hidden @ hidden.T / jnp.sqrt(16.0), axis=-1)
        return jnp.mean(jax.nn.logsumexp((scores @ hidden) @ w["out"], axis=-1))

    shapes = {"in": (16, 16), "a": (16, 2), "b": (2, 16), "out": (16, 40)}
    keys = jax.random.split(jax.random.key(0), len(shapes) + 1)
    w = {n: jax.random.normal(k, s) for (n, s), k in zip(shapes.items(), keys, strict=False)}
    step = jax.jit(lambda w, x: jax.tree.map(lambda a, g: a - g, w, jax.grad(loss)(w, x)))
    for _ in range(4):
        w = step(w, jax.random.normal(keys[-1], (16 * 24, 16)))
    return digest(w)["sha256"]


def run(
    folder: Path, devices: int, names: Iterable[str] = tuple(RUNS), **changes: Any
) -> dict[str, dict]:
    """Runs some configs of RUNS on the first devices; returns {name: rows, ledger, parameters}.

    `changes` are made to the configs, such as fewer seeds or arms.

    Parameters are a hash of their bits and two sums a leaf, for platforms that round differently.
    The runs share what they compile.
    """
    with _devices(devices):
        ctx, made = None, {}
        for name in names:
            config = dataclasses.replace(RUNS[name], **changes)
            run_dir = RunDir(folder / name)
            with run_dir.locked():
                run_dir.create(config)
                ctx = (
                    dataclasses.replace(ctx, config=config)
                    if ctx
                    else make_context(config, run_dir)
                )
                progress = Progress(planned_stages(config), io.StringIO())
                rows = run_experiment(ctx, run_dir, progress)
            made[name] = _result(ctx, run_dir, rows)
        return made


def _result(ctx: RunContext, run_dir: RunDir, rows: list[dict]) -> dict:
    config = ctx.config
    ids = [RoundId(s, a, config.rounds) for s in range(config.seeds) for a in config.arms]
    states = {str(i): load_state(run_dir.round_dir(i).checkpoint, shapes_of(ctx)) for i in ids}
    ledgers = map(read_ledger, run_dir.ledger_paths())
    entries = [vars(entry) for ledger in ledgers for entry in ledger.entries.values()]
    return {
        "rows": [{k: v for k, v in row.items() if k != "seconds"} for row in rows],
        "ledger": sorted(entries, key=lambda e: json.dumps(e, sort_keys=True)),
        "parameters": {name: digest(state) for name, state in states.items()},
    }


def digest(tree) -> dict:
    """A hash of all bits of a pytree, and of each float leaf its sum and its sum of squares."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    arrays = {jax.tree_util.keystr(path): np.asarray(x) for path, x in leaves}
    bits = hashlib.sha256()
    for name, x in sorted(arrays.items()):
        bits.update(f"{name}{x.dtype}{x.shape}".encode() + x.tobytes())
    sums = {
        name: [float(np.sum(x, dtype=np.float64)), float(np.sum(x.astype(np.float64) ** 2))]
        for name, x in sorted(arrays.items())
        if np.issubdtype(x.dtype, np.floating)
    }
    return {"sha256": bits.hexdigest(), "sums": sums}


@contextlib.contextmanager
def _devices(n: int) -> Iterator[None]:
    """Within the block, JAX has n devices."""
    found, real = jax.devices()[:n], jax.devices
    jax.devices = lambda *backend: found
    try:
        yield
    finally:
        jax.devices = real


def stored(devices: int) -> dict:
    """The stored results."""
    return json.loads((HERE / f"results_{devices}.json").read_text())


def of_seed_0(results: dict, arm: str) -> dict:
    """What a run of that seed and arm alone gives."""

    def mine(found: list[dict]) -> list[dict]:
        return [x for x in found if (x["seed"], x["arm"]) == (0, arm)]

    name = str(RoundId(0, arm, MAIN.rounds))
    return {
        "rows": mine(results["rows"]),
        "ledger": mine(results["ledger"]),
        "parameters": {name: results["parameters"][name]},
    }
