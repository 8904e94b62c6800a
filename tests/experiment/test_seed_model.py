"""What the seed model begins from, and which examples it is trained on."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from support.runs import OPTIMIZER, tiny_config

from boostlm.config import SeedModelConfig
from boostlm.engine.learner import LearnerState
from boostlm.errors import BoostError
from boostlm.experiment import seed_model
from boostlm.experiment.context import make_context
from boostlm.storage.run_dir import RunDir


@pytest.fixture
def trained(tmp_path, monkeypatch):
    """(examples, path, seed) -> the model, what training began from, and its different rows."""
    ctx = make_context(tiny_config(), RunDir(tmp_path))
    few = ctx.task.seed_examples(0)[:64]
    monkeypatch.setattr(ctx.task, "seed_examples", lambda seed: few)
    monkeypatch.setattr(seed_model, "load_converted_params", lambda path, shapes: f"from {path}")

    def make(examples, path="", seed=0):
        calls = []

        def train(begin, rows, *more):
            taken = rows.take(np.arange(len(rows.length_C)))
            calls.append((begin.params, {row.tobytes() for row in np.asarray(taken.tokens_BxT)}))
            return LearnerState("trained", "optimizer", np.float32(1))

        learner = SimpleNamespace(
            init=lambda key: LearnerState("new", None, np.float32(0)),
            train=train,
            parallel=SimpleNamespace(shapes=None),
            shards=ctx.learner.shards,
        )
        settings = SeedModelConfig(OPTIMIZER, path, examples)
        config = replace(ctx.config, seed_model=settings)
        run = replace(ctx, config=config, learner=learner)
        made = seed_model.make_seed_model(run, seed, lambda done, total: None)
        return made.params, *(calls[0] if calls else (None, set()))

    return make


def test_a_new_model_is_trained_on_all_examples_and_a_pretrained_one_on_none(trained):
    made, begin, rows = trained(0)
    assert (made, begin) == ("trained", "new")
    assert len(rows) == OPTIMIZER.steps * OPTIMIZER.batch_size  # no example twice
    assert trained(0, "model") == ("from model", None, set())


@pytest.mark.parametrize("path", ["", "model"])
def test_so_many_examples_are_drawn_for_each_seed(trained, path):
    made, begin, rows = trained(5, path)
    assert (made, begin) == ("trained", "from model" if path else "new")
    assert len(rows) == 5
    assert trained(5, path) == (made, begin, rows)
    assert rows != trained(5, path, seed=1)[2]


def test_more_examples_than_there_are_is_an_error(trained):
    with pytest.raises(BoostError, match=r"seed_model.examples is 99999, and the task has 64"):
        trained(99999, "model")
