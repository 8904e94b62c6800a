"""The optimizer against a few lines of numpy."""

import jax
import numpy as np
import optax
import pytest

from boostlm.config import OptimizerConfig
from boostlm.lm.train_step import make_optimizer

CONFIG = OptimizerConfig(
    steps=10, learning_rate=0.1, warmup_steps=4, weight_decay=0.2, clip_norm=1.0
)
B1, B2, EPS = 0.9, 0.95, 1e-8


def gradients():
    rng = np.random.default_rng(0)
    scales = [5.0, 0.01, 3.0, 0.3, 1.0, 20.0, 0.1, 2.0, 0.7, 4.0]  # above the clip norm, and below
    return [
        {"w": s * rng.normal(size=(3, 2)).astype(np.float32), "b": np.float32([s, -s])}
        for s in scales
    ]


def adamw(params, **changes):
    """The parameters after every gradient, in float64."""
    part = {"warmup": CONFIG.warmup_steps, "decay": CONFIG.weight_decay, "b2": B2}
    part |= {"clip": CONFIG.clip_norm, **changes}
    m = {name: np.zeros_like(p) for name, p in params.items()}
    v = {name: np.zeros_like(p) for name, p in params.items()}
    for t, gradient in enumerate(gradients(), 1):
        norm = np.sqrt(sum(np.sum(np.float64(g) ** 2) for g in gradient.values()))
        shrink = min(1.0, part["clip"] / norm)
        # The first step takes 1 / warmup of the rate, the step after the warm-up all of it.
        done = min(1.0, (t - 1) / part["warmup"]) if part["warmup"] else 1.0
        first = 1.0 / part["warmup"] if part["warmup"] else 1.0
        rate = CONFIG.learning_rate * (first + (1 - first) * done)
        for name, g in gradient.items():
            g = shrink * np.float64(g)
            m[name] = B1 * m[name] + (1 - B1) * g
            v[name] = part["b2"] * v[name] + (1 - part["b2"]) * g**2
            step = m[name] / (1 - B1**t) / (np.sqrt(v[name] / (1 - part["b2"] ** t)) + EPS)
            params = {**params, name: params[name] - rate * (step + part["decay"] * params[name])}
    return params


def start():
    return {"w": np.linspace(-1, 1, 6).reshape(3, 2), "b": np.array([0.5, 2.0])}


def difference(a, b):
    return max(np.abs(a[name] - b[name]).max() for name in a)


def trained():
    optimizer = make_optimizer(CONFIG)
    params = jax.tree.map(np.float32, start())
    state, update = optimizer.init(params), jax.jit(optimizer.update)
    for gradient in gradients():
        updates, state = update(gradient, state, params)
        params = optax.apply_updates(params, updates)
    return jax.tree.map(np.float64, params)


def test_the_optimizer_is_adamw_after_clipping_with_warm_up():
    assert difference(trained(), adamw(start())) < 1e-5


@pytest.mark.parametrize(
    "part", [{"clip": np.inf}, {"warmup": 0}, {"b2": 0.999}, {"decay": 0.0}], ids=str
)
def test_each_part_of_the_optimizer_shows(part):
    """The test above would fail without this part."""
    assert difference(adamw(start()), adamw(start(), **part)) > 1e-3


def test_without_warm_up_the_first_step_has_the_full_rate():
    config = OptimizerConfig(learning_rate=0.1, warmup_steps=0, weight_decay=0.0)
    optimizer = make_optimizer(config)
    params = {"w": np.float32([1.0])}
    updates, _ = optimizer.update({"w": np.float32([0.5])}, optimizer.init(params), params)
    assert float(updates["w"][0]) == pytest.approx(-0.1, rel=1e-5)  # Adam's first step is the rate
