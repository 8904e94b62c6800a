"""Every test sees 8 virtual CPU devices; warnings and implicit rank promotion are errors.

Most of the tests' time is compilation: XLA optimizes little, it takes its older emitters, which compile
a training step in less than half the time, and all processes share what they compile.
"""

import atexit
import os
import shutil
import signal
import tempfile

if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="boostlm-tests-")
    atexit.register(shutil.rmtree, os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)
os.environ |= {
    "XLA_FLAGS": os.environ.get("XLA_FLAGS", "")
    + " --xla_force_host_platform_device_count=8 --xla_cpu_use_fusion_emitters=false",
    "JAX_PLATFORMS": "cpu",
    "JAX_NUMPY_RANK_PROMOTION": "raise",
    "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
    "JAX_ENABLE_COMPILATION_CACHE": "true",
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1",
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
}

import jax
import pytest

from boostlm.experiment import context

_learners = {}


def _shared_learner(config, model, vocab_size, stops, devices, make=context.make_learner):
    """A learner holds nothing but compiled programs: runs that need the same ones share it."""
    sample = config.sample.max_new_tokens, config.sample.batch_size
    key = model, vocab_size, tuple(map(tuple, stops)), tuple(devices), sample, config.compute
    if key not in _learners:
        _learners[key] = make(config, model, vocab_size, stops, devices)
    return _learners[key]


context.make_learner = _shared_learner

# Whoever starts the tests in the background of a shell has them ignore Ctrl-C, and what they start.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def devices():
    """The 8 devices; a test of devices that has fewer would prove nothing."""
    found = jax.devices()
    assert len(found) == 8
    return found


@pytest.fixture
def optimized():
    """XLA optimizes as usual: for what runs longer than it compiles."""
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", True)


@pytest.fixture
def mesh(devices):
    """The devices as one axis, "data"."""
    return jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
