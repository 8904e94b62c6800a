"""A run's own arrays are split over the devices, and nothing in it depends on how many there are."""

from dataclasses import replace

import jax
import numpy as np
import pytest
from support.lives import live
from support.runs import ledger_files, rows_of, tiny_config

from boostlm.config import DataConfig
from boostlm.experiment import arm_run, context, resume, stages
from boostlm.experiment.context import make_context
from boostlm.experiment.round_arrays import Samples, Verdicts
from boostlm.storage.run_dir import RunDir

pytestmark = pytest.mark.slow

N = 22  # does not divide over 3 or 8 devices
CONFIG = tiny_config(arms=("boosting",), data=DataConfig(train_prompts=N, eval_prompts=10))


@pytest.fixture(scope="module")
def ctx(tmp_path_factory):
    return make_context(CONFIG, RunDir(tmp_path_factory.mktemp("ctx")))


def split(x):
    """(over how many devices, rows of each, rows in all)"""
    return len(x.sharding.device_set), {s.data.shape[0] for s in x.addressable_shards}, len(x)


def test_every_array_over_prompts_is_split_over_all_devices(ctx, devices, tmp_path, monkeypatch):
    """The arrays are those that the run itself handed on, in every round."""
    seen = {name: [] for name in ("samples", "verdicts", "states", "mixtures", "batches")}
    real_round, real_draw, put = arm_run.curation_round, stages.draw, ctx.learner.parallel.put_batch

    def curation_round(state, fns, *rest):
        seen["states"].append(state)
        return real_round(state, fns, *rest)

    def draw(key, mixture, rows):
        seen["mixtures"].append(mixture.synthetic_NxK)
        return real_draw(key, mixture, rows)

    class Watched(stages.ArmStages):
        def verdicts(self, samples, done):
            found = super().verdicts(samples, done)
            seen["samples"].append(samples)
            seen["verdicts"].append(found)
            return found

    def put_batch(batch):
        seen["batches"].append(batch)
        return put(batch)

    monkeypatch.setattr(arm_run, "curation_round", curation_round)
    monkeypatch.setattr(arm_run, "ArmStages", Watched)
    monkeypatch.setattr(stages, "draw", draw)
    monkeypatch.setattr(ctx.learner, "parallel", ctx.learner.parallel._replace(put_batch=put_batch))
    live(ctx, tmp_path)
    assert all(seen.values())
    for samples in seen["samples"]:
        assert isinstance(samples, Samples)
        for x in samples[:3]:
            assert split(x) == (8, {3}, 24)
        assert samples.logprob_NxK.shape == (N, 2)
    for verdicts in seen["verdicts"]:
        assert isinstance(verdicts, Verdicts)
        assert all(split(x) == (8, {3}, 24) for x in verdicts)
        assert not np.any(np.asarray(verdicts.accepted)[N:])
    for state in seen["states"]:
        assert split(state.log_weight_N) == split(state.failures_N) == (8, {3}, 24)
        assert state.valid_N.tolist() == [True] * N + [False] * 2
    assert all(split(x) == (8, {3}, 24) for x in seen["mixtures"])
    assert all(split(x) == (8, {1}, 8) for batch in seen["batches"] for x in batch)


def outcome_on(ctx, devices, root, monkeypatch):
    """Rows and ledgers of a run whose training changes nothing, so that no float sum differs."""
    learner = context.make_learner(
        CONFIG, CONFIG.model, ctx.tokenizer.vocab_size, ctx.learner.sampler.stop_sequences, devices
    )
    start = jax.device_get(ctx.learner.init(jax.random.key(3)).params)
    monkeypatch.setattr(
        learner,
        "train",
        lambda state, rows, *rest: state._replace(
            params=start, loss=np.float32(np.sum(rows.length_C))
        ),
        raising=False,
    )
    live(replace(ctx, learner=learner), root)
    state = resume.load_state(
        next(root.glob("rounds/seed0/boosting/round02/checkpoint")), resume.shapes_of(ctx)
    )
    curated = [np.asarray(x).tobytes() for x in (state.log_weight_N, state.failures_N)]
    return rows_of(root), [p.read_bytes() for p in ledger_files(root)], curated


def test_curation_is_the_same_bit_for_bit_on_any_number_of_devices(
    ctx, devices, tmp_path, monkeypatch
):
    made = {}
    for count in (1, 2, 3, 8):
        made[count] = outcome_on(ctx, devices[:count], tmp_path / str(count), monkeypatch)
    rows, ledgers, curated = made[1]
    assert ledgers[0]
    assert rows[-1]["labels_kept"] > 0
    for count in (2, 3, 8):
        assert made[count][1:] == (ledgers, curated)
        for a, b in zip(made[count][0], rows, strict=True):
            tail = a.pop("tail_loss"), b["tail_loss"]
            assert tail[0] == pytest.approx(tail[1], rel=1e-5)  # of the decoder's own floats
            assert a == {k: v for k, v in b.items() if k != "tail_loss"}
