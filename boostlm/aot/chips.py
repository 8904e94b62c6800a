"""Memory and speed of TPU chips, and the devices of a topology, without a TPU.

Memory is what libtpu 0.0.42 leaves to a program, in GiB, as its compiler says when it refuses one.
The other figures are Google's, from https://cloud.google.com/tpu/docs/v4, /v5e, /v5p and /v6e: peak
bfloat16 FLOP/s, HBM bandwidth, and ICI bandwidth a chip over all of its links (4 in a 2D torus, 6
in a 3D one).
"""

import importlib.util
import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax

from boostlm.errors import BoostError


class Chip(NamedTuple):
    """One chip.

    Attributes:
      memory: HBM in bytes that a program may use.
      flops: peak FLOP/s in bfloat16.
      bandwidth: of HBM, in bytes/s.
      network: bytes/s that a chip sends along a ring through all chips, in both directions: two of
        its links. A torus may do better; slices of 8 chips have no wrap-around links.
    """

    memory: float
    flops: float
    bandwidth: float
    network: float


def _chip(gib: float, teraflops: float, gigabytes: float, gigabits: float, links: int) -> Chip:
    return Chip(gib * 2**30, teraflops * 1e12, gigabytes * 1e9, 2 * gigabits * 1e9 / 8 / links)


CHIPS = {
    "v4": _chip(30.75, 275, 1228, 2400, links=6),
    "v5e": _chip(15.75, 197, 819, 1600, links=4),
    "v5p": _chip(95.74, 459, 2765, 4800, links=6),
    "v6e": _chip(31.25, 918, 1640, 3584, links=4),
}

_SURROUNDINGS = {  # otherwise libtpu queries the VM for a TPU, and locks it
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_ACCELERATOR_TYPE": "v5litepod-8",
}


def chips_of(topology: str) -> tuple[Chip, list]:
    """The kind of chip, and a device for each chip, of a topology such as "v5e:2x4".

    Call it before JAX has started a backend; it restricts JAX to the CPU.

    Raises:
      BoostError: libtpu is not installed, or does not know the topology.
    """
    name = topology.partition(":")[0]
    if name not in CHIPS:
        raise BoostError(
            f"--topology {topology}: write chip:shape, the chip one of {', '.join(CHIPS)}, such as "
            "v5e:2x4 or v4:2x2x1"
        )
    if importlib.util.find_spec("libtpu") is None:
        raise BoostError(
            "XLA's TPU compiler is not installed: pip install libtpu, or boostlm with the extra "
            "[tpu] (no TPU is needed)"
        )
    for variable, value in _SURROUNDINGS.items():
        os.environ.setdefault(variable, value)
    jax.config.update("jax_platforms", "cpu")
    try:
        return CHIPS[name], _described(topology)
    except Exception as error:  # of several classes
        raise BoostError(f"--topology {topology}: libtpu says: {error}") from error


def host_of(devices: Sequence[jax.Device]) -> list[jax.Device]:
    """The chips of one host of a topology, as a topology of their own if there are several.

    A real TPU can run a program on some of its chips; the compiler alone cannot target a part.
    """
    if devices[-1].process_index == 0:  # the only one, or no TPU
        return list(devices)
    return _described(_ONE_HOST[devices[0].device_kind])


_ONE_HOST = {
    "TPU v4": "v4:2x2x1",
    "TPU v5 lite": "v5e:2x2",
    "TPU v5": "v5p:2x2x1",
    "TPU v6 lite": "v6e:2x2",
}


def _described(topology: str) -> list[jax.Device]:
    from jax.experimental.topologies import get_topology_desc

    how: dict[str, Any] = {}
    if topology.startswith("v4:"):
        how["chip_config_name"] = "megacore"  # as on its VMs: a device a chip
    if topology in ("v5e:2x4", "v6e:2x4"):
        how["chips_per_host_bounds"] = (2, 4, 1)  # one VM has all eight
    return list(get_topology_desc(platform="tpu", topology_name=topology, **how).devices)
