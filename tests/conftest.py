"""Every test sees 8 virtual CPU devices; warnings are errors."""

import os
import signal

os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
)
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "false"  # the command line would turn it on

import jax
import pytest

# Whoever starts the tests in the background of a shell has them ignore Ctrl-C, and what they start.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def devices():
    """The 8 devices; a test of devices that has fewer would prove nothing."""
    found = jax.devices()
    assert len(found) == 8
    return found


@pytest.fixture
def mesh(devices):
    """The devices as one axis, "data"."""
    return jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
