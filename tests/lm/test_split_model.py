"""A model that is split over devices does what it does on one: logits, training, samples."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from etils import epath
from jax.sharding import PartitionSpec
from support.runs import full_logits, given_rows
from support.split import CONFIG, MESHES, PARAMS, V, mesh_named

from boostlm import Batch, decoder_lm
from boostlm.config import OptimizerConfig
from boostlm.engine.learner import LanguageLearner, LearnerState
from boostlm.lm.lora import init_adapters
from boostlm.lm.sharding import row_sharding, shardings, spec_of
from boostlm.storage import checkpoint

pytestmark = pytest.mark.slow

T, B = 10, 16
STEPS = OptimizerConfig(steps=2, batch_size=B, learning_rate=1e-2, warmup_steps=0, micro_batches=2)


@functools.cache
def rows():
    rng = np.random.default_rng(0)
    weight = rng.random((2 * B, T)) < 0.6
    return Batch(rng.integers(4, V, (2 * B, T)).astype(np.int32), weight.astype(np.float32))


@functools.cache
def trained(mesh, dtype, lora):
    """The parameters after two steps, over a mesh (None: one device), and the learner."""
    where = {"devices": jax.devices()[:1]} if mesh is None else {"mesh": mesh_named(mesh)}
    model = decoder_lm(CONFIG, V, jnp.dtype(dtype), remat=True, mesh=where.get("mesh"))
    learner = LanguageLearner(model, ((1,),), 4, 8, **where)
    adapters = init_adapters(jax.random.key(1), PARAMS, 2) if lora else None
    prefix_P = np.array([2, 5, 4], np.int32)
    begin = LearnerState(PARAMS, None, np.float32(0))
    return learner.train(
        begin, given_rows(rows()), STEPS, prefix_P=prefix_P, adapters=adapters
    ), learner


@pytest.mark.parametrize("mesh", MESHES)
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("bfloat16", 0.05)])
def test_logits_are_those_of_one_device(mesh, dtype, tolerance):
    tokens, on = rows().tokens_BxT[:B], mesh_named(mesh)
    want = jax.jit(full_logits(decoder_lm(CONFIG, V, jnp.dtype(dtype))))(PARAMS, tokens)
    split = full_logits(decoder_lm(CONFIG, V, jnp.dtype(dtype), mesh=on))
    run = jax.jit(split, in_shardings=(shardings(on, PARAMS), row_sharding(on)))
    scale = np.abs(want).max()
    np.testing.assert_allclose(run(PARAMS, tokens), want, atol=tolerance * scale)


@pytest.mark.parametrize(
    ("mesh", "dtype", "lora"),
    [(mesh, "float32", False) for mesh in MESHES]
    + [("2x4", "float32", True), ("2x4", "bfloat16", False)],
)
def test_a_training_is_that_of_one_device(mesh, dtype, lora):
    """Relative to how far it moves each array: 1e-3 in float32, and in bfloat16 in the mean."""
    (got, _), (want, _) = trained(mesh, dtype, lora), trained(None, dtype, lora)
    assert float(got.loss) == pytest.approx(
        float(want.loss), rel=1e-5 if dtype == "float32" else 0.02
    )
    moved = 0
    trees = jax.device_get((got.params, want.params, PARAMS))
    for a, b, c in zip(*map(jax.tree.leaves, trees), strict=True):
        step = np.abs(b - c)
        moved += step.max() > 0
        if dtype == "float32":
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-3 * step.max() + 1e-7)
        else:
            assert np.abs(a - b).mean() < 0.2 * step.mean()
    assert moved == len(jax.tree.leaves(PARAMS)) or lora


@pytest.mark.parametrize("mesh", MESHES)
def test_each_device_holds_its_part_and_no_more(mesh):
    state, _ = trained(mesh, "float32", False)
    for x in jax.tree.leaves(state.optimizer_state[1][0].mu):
        if x.ndim > 1:
            assert x.addressable_shards[0].data.size <= x.size // mesh_named(mesh).shape["data"]
    block = state.params["params"]["blocks_0"]
    for kernel in (block["attention"]["query"], block["attention"]["out"], block["gate"]):
        assert kernel["kernel"].addressable_shards[0].data.size == kernel["kernel"].size // 8


def test_checkpoints_restore_on_any_mesh(tmp_path):
    path = epath.Path(tmp_path / "params")
    state, _ = trained("2x4", "float32", False)
    checkpoint.save(path, state.params)
    for mesh in ("8x1", "1x8", None):
        _, learner = trained(mesh, "float32", False)
        like = learner.parallel.shapes(learner.model.init, jax.random.key(0))
        again = checkpoint.restore(path, like)
        for a, b, c in zip(*map(jax.tree.leaves, (again, state.params, like)), strict=True):
            np.testing.assert_array_equal(a, b)
            assert mesh is None or a.sharding == c.sharding


def test_neither_kernels_nor_the_table_are_gathered_over_the_model():
    """Over "data" they are; what a kernel's part is multiplied with, and adds up to, is sent."""
    on = mesh_named("2x4")
    wide = dataclasses.replace(CONFIG, width=64, mlp_width=512)
    model = decoder_lm(wide, 1024, mesh=on)
    params = jax.eval_shape(model.init, jax.random.key(0))
    run = jax.jit(full_logits(model), in_shardings=(shardings(on, params), row_sharding(on)))
    tokens = jax.ShapeDtypeStruct((B, T), jnp.int32)
    text = run.lower(params, tokens).compile().as_text()
    lines = [line for line in text.splitlines() if " all-gather(" in line]
    assert any("[64,128]" in line for line in lines)  # a quarter of the gate
    assert not any("[64,512]" in line or "1024," in line for line in lines)


def test_what_lies_where():
    assert spec_of((64, 8, 16), 2, 4, 1) == PartitionSpec("data", "model")
    assert spec_of((4096, 64), 2, 4, 0) == PartitionSpec(("model", "data"))
    assert spec_of((64, 2, 16), 2, 4, 1) == PartitionSpec("data")  # 2 heads on 4
    assert spec_of((64, 8, 16), 1, 4, 1) == PartitionSpec(None, "model")
