"""Arrays over prompts, split over the devices of all hosts.

Prompts stand in order along one axis of devices, of which those of a host are neighbours. So a
host's own prompts are a range. Padding at the end makes all devices hold equally many.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from boostlm.lm.sharding import AXIS, row_sharding
from boostlm.numerics import AnyArray
from boostlm.runtime.multihost import gather_blocks


class PromptShards(NamedTuple):
    """How prompts are split over devices.

    Attributes:
      mesh: the devices along one axis, by host.
      prompts: how many there are.
    """

    mesh: Mesh
    prompts: int

    @property
    def places(self) -> int:
        """N: prompts and padding."""
        return -(-self.prompts // self.mesh.size) * self.mesh.size

    @property
    def own(self) -> range:
        """The prompts of this host."""
        each, host = self.places // self.mesh.size, jax.process_index()
        here = [i for i, d in enumerate(self.mesh.devices.flat) if d.process_index == host]
        first, last = here[0] * each, (here[-1] + 1) * each
        return range(min(first, self.prompts), min(last, self.prompts))

    def put(self, own: AnyArray, fill: Any = 0) -> jax.Array:
        """Rows [places, ...] over all devices, of which each host gives its own prompts' ones.

        Args:
          own: rows of `own`.
          fill: of padding.
        """
        own = np.asarray(own)
        first = self.own.start

        def part(index: Any) -> np.ndarray:
            start, stop, _ = index[0].indices(self.places)
            rows = own[max(0, start - first) : max(0, stop - first)]
            padding = np.full((stop - start - len(rows), *own.shape[1:]), fill, own.dtype)
            return np.concatenate([rows, padding]) if len(padding) else rows

        shape = (self.places, *own.shape[1:])
        return jax.make_array_from_callback(shape, row_sharding(self.mesh), part)

    def local(self, rows: jax.Array) -> np.ndarray:
        """The rows of `own`, in the memory of the host."""
        rows = jax.device_put(rows, row_sharding(self.mesh))  # which they mostly have
        shards = sorted(rows.addressable_shards, key=lambda shard: shard.index[0].start or 0)
        parts = [np.asarray(shard.data) for shard in shards]
        return (
            np.concatenate(parts)[: len(self.own)] if len(parts) > 1 else parts[0][: len(self.own)]
        )

    def whole(self, rows: jax.Array) -> np.ndarray:
        """The rows of all prompts, on every host: for a few numbers a prompt, not for responses."""
        return gather_blocks(lambda: self.local(rows))


def by_host(devices: Sequence[jax.Device]) -> list[jax.Device]:
    """The devices, those of a host side by side."""
    return sorted(devices, key=lambda device: device.process_index)


def split_prompts(devices: Sequence[jax.Device], prompts: int) -> PromptShards:
    """So many prompts over these devices."""
    return PromptShards(Mesh(np.array(by_host(devices)), (AXIS,)), prompts)
