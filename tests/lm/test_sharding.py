"""Micro-batches and sharded states take the step of one device that holds everything."""

import contextlib
import dataclasses
import functools
import re
import subprocess
import sys

import jax
import numpy as np
import pytest
from etils import epath
from jax.sharding import PartitionSpec as P
from support.runs import environment, given_rows

from boostlm import Batch, TrainState, decoder_lm, jit_train_step, pmap_train_step
from boostlm.cli.main import cache_compiled_programs
from boostlm.config import Config, ModelConfig, OptimizerConfig
from boostlm.config_io import override
from boostlm.engine.learner import LanguageLearner, LearnerState
from boostlm.errors import BoostError
from boostlm.lm.language_model import NO_PREFIX
from boostlm.lm.sharding import (
    device_mesh,
    device_put_copy,
    replicated_sharding,
    row_sharding,
    shardings,
    spec_of,
)
from boostlm.lm.train_step import make_optimizer, shard_train_step
from boostlm.storage import checkpoint

pytestmark = pytest.mark.slow

V, T, B = 64, 10, 16
CONFIG = ModelConfig(layers=2, width=16, heads=4, kv_heads=2, head_dim=8, mlp_width=32)
MODEL = decoder_lm(CONFIG, V)
OPTIMIZER = make_optimizer(OptimizerConfig(learning_rate=1e-2, warmup_steps=0))


def rows(seed=0):
    rng = np.random.default_rng(seed)
    weight = rng.random((B, T)) < np.linspace(0.05, 0.95, B)[:, None]
    return Batch(rng.integers(4, V, (B, T)).astype(np.int32), weight.astype(np.float32) * 1.5)


def state():
    params = jax.jit(MODEL.init)(jax.random.key(1))
    return TrainState(params, OPTIMIZER.init(params))


@functools.cache
def one_device():
    return jax.device_get(jit_train_step(MODEL, OPTIMIZER)(state(), rows(), NO_PREFIX))


def assert_same_step(got, rtol):
    """Parameters to within rtol of what the step changed them by; metrics relatively."""
    (after, metrics), (want, want_metrics) = jax.device_get(got), one_device()
    np.testing.assert_allclose(metrics, want_metrics, rtol=rtol)
    for a, b in zip(jax.tree.leaves(after), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * max(1e-2, np.abs(b).max()))


@pytest.mark.parametrize("parts", [2, 4, 8])
def test_micro_batches_change_nothing(parts):
    assert_same_step(jit_train_step(MODEL, OPTIMIZER, parts)(state(), rows(), NO_PREFIX), 1e-5)


def test_micro_batches_on_every_device_change_nothing(devices):
    spread = jax.tree.map(lambda x: x.reshape(8, -1, T), rows())
    stacked = jax.tree.map(lambda x: np.stack([x] * 8), state())
    after = pmap_train_step(MODEL, OPTIMIZER, 2)(stacked, spread, NO_PREFIX)
    assert_same_step(jax.tree.map(lambda x: x[3], after), 1e-5)


def sharded(devices, parts=1, vocabulary=V, config=CONFIG):
    """(jitted step, a state on its devices)"""
    mesh = device_mesh(devices)
    model = decoder_lm(config, vocabulary, mesh=mesh)
    params = jax.jit(model.init)(jax.random.key(1))
    start = TrainState(params, OPTIMIZER.init(params))
    start = jax.device_put(start, shardings(mesh, start))
    return shard_train_step(model, OPTIMIZER, mesh, start, parts), start


@pytest.mark.parametrize("parts", [1, 2])
def test_a_sharded_state_takes_the_step_of_one_device(devices, parts):
    step, start = sharded(devices, parts)
    after, metrics = step(start, rows(), NO_PREFIX)
    for x in jax.tree.leaves(after):
        assert x.addressable_shards[0].data.size == (x.size // 8 if x.ndim > 1 else x.size)
    assert all(x.is_deleted() for x in jax.tree.leaves(start.params) if x.ndim > 1)  # donated
    assert_same_step((after, metrics), 1e-6)


def collectives(program):
    """(operation, shape) of each array that a compiled program sends between devices."""
    found = re.findall(r"= (.*) (all-gather|all-reduce|all-to-all|reduce-scatter)\(", program)
    return [
        (operation, tuple(map(int, filter(None, shape.split(",")))))
        for shapes, operation in found
        for shape in re.findall(r"\w+\[([\d,]*)\]", shapes)
    ]


def test_neither_table_nor_logits_travel(devices):
    """Nor rows, but for embeddings and what logits are made of; kernels are gathered.

    The partitioner likes to send whatever is less, so kernels are larger here than a device's rows
    between them, which it would send if it were let; and the table is larger than a batch.
    """
    wide = dataclasses.replace(CONFIG, width=64, mlp_width=512)
    step, start = sharded(devices, vocabulary=1024, config=wide)
    sent = collectives(step.lower(start, rows(), NO_PREFIX).compile().as_text())
    assert not [shape for _, shape in sent if 1024 in shape]
    assert ("all-gather", (64, 512)) in sent
    assert ("all-reduce", (64, 512)) in sent or ("reduce-scatter", (64, 512)) in sent
    assert not [operation for operation, _ in sent if operation == "all-to-all"]
    assert sum(shape[:2] == (B, T) for _, shape in sent) <= 3


def test_what_does_not_divide_is_whole_or_split_elsewhere(devices):
    assert spec_of((640, 4, 256), 8) == P("data")
    assert spec_of((4, 256, 640), 8) == P(None, None, "data")
    assert spec_of((64, 64), 8) == P("data")
    assert spec_of((101, 48), 8) == P(None, "data")
    assert spec_of((101, 3), 8) == spec_of((640,), 8) == spec_of((64, 64), 1) == P()
    step, start = sharded(devices, vocabulary=V + 1)
    _, metrics = step(start, rows(), NO_PREFIX)
    assert np.isfinite(float(metrics.loss))


def test_the_learner_and_checkpoints_keep_to_the_shardings(devices, tmp_path):
    config = OptimizerConfig(steps=2, batch_size=B, micro_batches=2)
    two = given_rows(Batch(*(np.concatenate(x) for x in zip(rows(0), rows(1), strict=True))))
    start = LearnerState(jax.jit(MODEL.init)(jax.random.key(1)), None, np.float32(0))
    want = LanguageLearner(MODEL, ((1,),), 4, 8, devices[:1]).train(start, two, config)
    model = decoder_lm(CONFIG, V, mesh=device_mesh(devices))
    learner = LanguageLearner(model, ((1,),), 4, 8, devices, split=True)
    got = learner.train(start, two, config)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    path = epath.Path(tmp_path / "params")
    checkpoint.save(path, got.params)
    again = checkpoint.restore(path, learner.parallel.shapes(model.init, jax.random.key(0)))
    for a, b in zip(jax.tree.leaves(again), jax.tree.leaves(got.params), strict=True):
        assert a.sharding == b.sharding
        np.testing.assert_array_equal(a, b)
    learner.train(got, two, config)  # goes on, and leaves its argument alone
    np.testing.assert_array_equal(
        *(x["params"]["final_norm"]["scale"] for x in (again, got.params))
    )


def test_what_does_not_divide_over_devices_and_parts_is_said(devices):
    with pytest.raises(BoostError, match="micro_batches: 3 does not divide batch_size 64"):
        override(Config(), ["--train.optimizer.micro_batches=3"])
    learner = LanguageLearner(MODEL, ((1,),), 4, 8, devices)
    with pytest.raises(BoostError, match="make it a multiple of 32"):
        learner.train(None, None, OptimizerConfig(batch_size=B, micro_batches=4))


def test_the_command_line_keeps_compiled_programs_where_the_user_says(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    before = jax.config.jax_compilation_cache_dir
    try:
        for chosen, kept in ((None, str(tmp_path / "boostlm")), ("gs://mine", "gs://mine")):
            jax.config.update("jax_compilation_cache_dir", chosen)
            cache_compiled_programs()
            assert jax.config.jax_compilation_cache_dir == kept
    finally:
        jax.config.update("jax_compilation_cache_dir", before)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator")
@pytest.mark.parametrize("gib", [1, 3])  # glibc takes a threshold of 2 GiB at the most
def test_freed_memory_is_kept_for_what_comes_next(gib):
    """In a process of its own: the setting is for good."""
    program = f"""
import resource, sys
import numpy as np
from boostlm.runtime.malloc import tune_allocator
if sys.argv[1] == "kept":
    tune_allocator()
for round_ in range(2):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.empty({gib} * 2**30, np.uint8)[::4096] = 1
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
    faults = [
        int(subprocess.check_output([sys.executable, "-c", program, how], env=environment()))
        for how in ("kept", "not")
    ]
    assert faults[0] < 20 * faults[0] + 20 < faults[1]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator")
@pytest.mark.parametrize("limit_gib", [None, 2])
def test_the_heap_is_marked_for_huge_pages_unless_addresses_are_short(limit_gib):
    program = """
import ctypes, pathlib, resource, sys
from boostlm.runtime.malloc import tune_allocator
if sys.argv[1] != "None":
    limit = int(sys.argv[1]) * 2**30
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
tune_allocator()
room = bytearray(2**27)  # NumPy would mark its own
last = ctypes.addressof(ctypes.c_char.from_buffer(room, 2**27 - 1))
for line in pathlib.Path("/proc/self/smaps").read_text().splitlines():
    first, *words = line.split()
    if "-" in first:
        start, end = (int(x, 16) for x in first.split("-"))
    if first == "VmFlags:" and start <= last < end:
        print("hg" in words)
"""
    words = [sys.executable, "-c", program, str(limit_gib)]
    told = subprocess.check_output(words, env=environment(), text=True).split()
    if not told:
        pytest.skip("this kernel tells no flags of memory")
    assert told == [str(limit_gib is None)]


def test_training_leaves_the_callers_arrays_alone(devices):
    """Norm scales, which all devices hold, were taken from a model on one device and donated."""
    start = LearnerState(jax.jit(MODEL.init)(jax.random.key(1)), None, np.float32(0))
    model = decoder_lm(CONFIG, V, mesh=device_mesh(devices[:2]))
    config = OptimizerConfig(steps=1, batch_size=B)
    learner = LanguageLearner(model, ((1,),), 4, 8, devices[:2], split=True)
    first = learner.train(start, given_rows(rows()), config)
    assert not any(x.is_deleted() for x in jax.tree.leaves(start.params))
    again = learner.train(start, given_rows(rows()), config)
    for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(again), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("count", [2, 8])
def test_a_copy_on_devices_shares_no_buffer_with_its_source(devices, count):
    mesh = device_mesh(devices[:count])
    sources = {
        "numpy": np.arange(8.0),
        "one device": jax.device_put(np.arange(8.0), devices[0]),
        "replicated": jax.device_put(np.arange(8.0), replicated_sharding(mesh)),
        "split": jax.device_put(np.arange(8.0), row_sharding(mesh)),
    }
    for name, source in sources.items():
        for at in (replicated_sharding(mesh), row_sharding(mesh)):
            copy = device_put_copy(source, at)
            assert copy.sharding == at
            copy.delete()
            np.testing.assert_array_equal(source, np.arange(8.0), err_msg=name)


def test_the_optimizers_state_is_made_by_one_program(devices):
    """Its init was compiled anew in every training."""
    model = decoder_lm(CONFIG, V, mesh=device_mesh(devices[:2]))
    learner = LanguageLearner(model, ((1,),), 4, 8, devices[:2], split=True)
    config = OptimizerConfig(steps=1, batch_size=B)
    start = learner.init(jax.random.key(1))
    state = learner.train(start, given_rows(rows()), config)
    with counting_compilations() as compiled:
        learner.train(state._replace(optimizer_state=None), given_rows(rows(1)), config)
    assert compiled == []


@contextlib.contextmanager
def counting_compilations():
    """Collects the names of the programs that are compiled, or read from the cache, inside."""
    names, real = [], jax._src.compiler.compile_or_get_cached

    def counted(backend, computation, *rest, **options):
        names.append(str(computation.operation.attributes["sym_name"]))
        return real(backend, computation, *rest, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jax._src.compiler, "compile_or_get_cached", counted)
        yield names
