"""The mesh of a run: whether each device holds the model, or how it is split over them."""

import math
from collections.abc import Sequence

import jax
from jax.sharding import Mesh

from boostlm.config import Config, ModelConfig
from boostlm.errors import BoostError
from boostlm.lm.sharding import device_mesh

REPLICATE = "replicate"  # instead of a mesh: each device holds the model
_STATE_PART = 2 / 3  # of a device's memory that parameters and optimizer state may take
_SAMPLING_PART = 3 / 4  # of it that the models may take while one is sampled


def mesh_of(setting: str, model: ModelConfig, devices: Sequence[jax.Device]) -> Mesh | None:
    """The mesh that `compute.mesh` names, not "auto"; None if each device holds the model.

    Raises:
      BoostError: the mesh is not one of these devices, or the model does not divide over it.
    """
    if setting == REPLICATE:
        return None
    data, parts = map(int, setting.split("x"))
    if data * parts != len(devices):
        raise BoostError(
            f"compute.mesh: {setting} is {data * parts} devices, and here are {len(devices)}: "
            f"choose data x model with that product, such as {len(devices)}x1"
        )
    if model.heads % parts or model.mlp_width % parts:
        raise BoostError(
            f"compute.mesh: {setting} splits a model in {parts}, which does not divide its "
            f"{model.heads} heads and MLP of {model.mlp_width}"
        )
    return device_mesh(list(devices), parts)


def choose_mesh(
    config: Config, model: ModelConfig, parameters: int, hosts: int, each: int, memory: float
) -> str:
    """What "auto" is: "replicate" or a mesh such as "8x1".

    A training state has 16 bytes a parameter (4 with adapters), and a run keeps two models of 4
    bytes a parameter beside it. If that is at most 2/3 of a device's memory, each device holds the
    model. Otherwise it is split, over "model" in the fewest parts with which two kept models and a
    part of the sampled one, of 2 bytes a parameter, take at most 3/4 of the memory; or in the most
    that a host has.

    Args:
      config: with `train.lora_rank`.
      model: whose heads and MLP must divide over "model".
      parameters: of the model.
      hosts: of the slice.
      each: devices of each.
      memory: bytes of each device.
    """
    state = 4 if config.train.lora_rank else 16
    if hosts * each == 1 or parameters * (state + 8) <= _STATE_PART * memory:
        return REPLICATE
    possible = [
        n for n in range(1, each + 1) if each % n == model.heads % n == model.mlp_width % n == 0
    ]
    for parts in possible:
        kept = parameters * (8 / (hosts * each) + 2 / parts)
        if kept <= _SAMPLING_PART * memory:
            break
    return f"{hosts * each // parts}x{parts}"


def memory_of_device(device: jax.Device) -> float:
    """Bytes that programs may use; infinite where the device does not say, as CPUs do not."""
    stats = device.memory_stats() or {}
    return stats.get("bytes_limit", math.inf)


def parameter_count(model: ModelConfig, vocab_size: int) -> int:
    """How many parameters a decoder has."""
    attention = 2 * (model.heads + model.kv_heads) * model.head_dim * model.width
    attention += 2 * model.qk_norm * model.head_dim
    norms = (4 if model.post_norms else 2) * model.width
    each = attention + 3 * model.width * model.mlp_width + norms
    return vocab_size * model.width + model.layers * each + model.width
