"""How a model lies on devices: what "auto" is, and what is refused."""

import math

import jax
import pytest

from boostlm.config import Config, ModelConfig
from boostlm.config_io import override
from boostlm.engine.choose_mesh import choose_mesh, memory_of_device, mesh_of, parameter_count
from boostlm.errors import BoostError
from boostlm.pretrained.gemma import GEMMA2_2B, GEMMA2_9B, GEMMA3_270M

V5E, V6E = 15.75 * 2**30, 31.25 * 2**30


@pytest.mark.parametrize(
    ("model", "rank", "hosts", "each", "memory", "want"),
    [
        (GEMMA3_270M, 0, 1, 8, V5E, "replicate"),
        (GEMMA2_2B, 0, 1, 8, V5E, "8x1"),
        (GEMMA2_2B, 16, 1, 8, V6E, "8x1"),  # 31 GB
        (GEMMA2_9B, 0, 1, 8, V6E, "4x2"),
        (GEMMA2_9B, 16, 1, 8, V5E, "1x8"),
        (GEMMA2_9B, 0, 4, 4, V5E, "4x4"),  # within a host
        (GEMMA2_9B, 0, 1, 8, math.inf, "replicate"),
        (GEMMA2_9B, 0, 1, 1, V5E, "replicate"),  # one device has nothing to share with
    ],
)
def test_auto_goes_by_size_and_memory(model, rank, hosts, each, memory, want):
    config = override(Config(), [f"--train.lora_rank={rank}"])
    count = parameter_count(model, 256_000)
    assert choose_mesh(config, model, count, hosts, each, memory) == want


def test_cpus_do_not_say_how_much_memory_they_have():
    assert memory_of_device(jax.devices()[0]) == math.inf


def test_meshes_that_cannot_be_are_refused(devices):
    model = ModelConfig(heads=4, mlp_width=256)
    assert mesh_of("replicate", model, devices) is None
    assert mesh_of("2x4", model, devices).shape == {"data": 2, "model": 4}
    with pytest.raises(BoostError, match="2x2 is 4 devices, and here are 8"):
        mesh_of("2x2", model, devices)
    with pytest.raises(BoostError, match="does not divide its 4 heads"):
        mesh_of("1x8", model, devices)
