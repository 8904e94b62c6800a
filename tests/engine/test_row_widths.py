"""Batches are cut to the least of a few widths, which change nothing and are compiled at first."""

import jax
import numpy as np
import pytest
from jax import monitoring
from support.runs import given_rows

from boostlm import Batch, decoder_lm
from boostlm.config import ModelConfig, OptimizerConfig
from boostlm.engine import row_widths
from boostlm.engine.learner import LanguageLearner, LearnerState
from boostlm.engine.row_widths import widths_of
from boostlm.lm.sharding import device_mesh

V, T, B, STEPS = 16, 17, 8, 4
CONFIG = ModelConfig(layers=1, width=16, heads=2, kv_heads=1, head_dim=8, mlp_width=32)
OPTIMIZER = OptimizerConfig(steps=STEPS, batch_size=B, warmup_steps=0)
STEP_NAMES = "jit(train_step)", "jit(_fun)"  # the second under pmap
ENDS = (17, 9, 12, 11)  # tokens of the longest row of each step


@pytest.fixture
def compiled():
    """The training steps that JAX compiles."""
    found = []

    def listen(event, seconds, **details):
        name = details.get("fun_name", "")
        if event.endswith("backend_compile_duration") and name in STEP_NAMES:
            found.append(name)

    monitoring.register_event_duration_secs_listener(listen)
    yield found
    monitoring.unregister_event_duration_listener(listen)


def rows(ends=ENDS, seed=0):
    """Steps of B rows, the longest of them with so many tokens, the others shorter."""
    rng = np.random.default_rng(seed)
    weight = np.zeros((STEPS, B, T), np.float32)
    for s, end in enumerate(ends):
        for b in range(B):
            weight[s, b, 1 : max(2, end - b)] = rng.uniform(0.5, 1)
    tokens = rng.integers(4, V, (STEPS * B, T)).astype(np.int32)
    return given_rows(Batch(tokens, weight.reshape(STEPS * B, T)))


def learner_of(devices, split):
    mesh = device_mesh(devices) if split else None
    return LanguageLearner(decoder_lm(CONFIG, V, mesh=mesh), ((1,),), 4, 8, devices, mesh)


def params_of(learner):
    return LearnerState(jax.jit(learner.model.init)(jax.random.key(1)), None, 0.0)


def test_a_few_widths_end_with_that_of_the_longest_row():
    assert widths_of(550) == (321, 385, 449, 550)
    assert widths_of(21) == (21,)
    assert widths_of(2) == (2,)
    for longest in range(2, 1200):
        widths = widths_of(longest)
        assert widths[-1] == longest
        assert len(widths) <= 4


@pytest.mark.slow
@pytest.mark.parametrize(("count", "split"), [(1, False), (4, False), (4, True)])
def test_cut_rows_train_the_same_and_compile_at_first_only(
    monkeypatch, compiled, devices, count, split
):
    learner = learner_of(devices[:count], split)
    begin = params_of(learner)
    whole = learner.train(begin, rows(), OPTIMIZER)
    monkeypatch.setattr(row_widths, "_TILE", 2)
    compiled.clear()
    learner.train(begin, rows((9, 9, 9, 9)), OPTIMIZER)
    assert widths_of(T) == (9, 11, 13, 17)
    assert len(compiled) == 3  # the widest is that of whole rows
    compiled.clear()
    cut = learner.train(begin, rows(), OPTIMIZER)
    assert not compiled
    np.testing.assert_allclose(cut.loss, whole.loss, rtol=1e-6)
    for a, b in zip(jax.tree.leaves(cut.params), jax.tree.leaves(whole.params), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5)
