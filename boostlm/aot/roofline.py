"""Memory of a program and its least time by the roofline; arithmetic on plain numbers.

The roofline (Williams et al., 2009): a program takes as long as its slowest of three parts would
alone, computing at the peak rate, moving bytes to and from HBM, and sending bytes to other chips.
Real programs take longer, typically 1.5 to 3 times as long.
"""

from collections.abc import Sequence
from typing import NamedTuple

from boostlm.aot.chips import Chip
from boostlm.aot.traffic import Collective


class Memory(NamedTuple):
    """Bytes of a chip's HBM while a program runs.

    Attributes:
      arguments: its inputs.
      results: its outputs that do not reuse the arguments' memory.
      temporaries: intermediate values.
      code: the program itself.
      beside: what the run holds meanwhile and the program does not take.
      peak: the most at any time, all together.
    """

    arguments: int
    results: int
    temporaries: int
    code: int
    beside: int
    peak: int


class Cost(NamedTuple):
    """One execution of a program, on each chip.

    Attributes:
      flops: the FLOPs of matrix products.
      hbm: bytes read and written.
      sent: bytes sent to other chips.
      compute, memory, network: seconds that each would take alone.
    """

    flops: float
    hbm: float
    sent: float
    compute: float
    memory: float
    network: float

    @property
    def seconds(self) -> float:
        """The least time."""
        return max(self.compute, self.memory, self.network)

    @property
    def bound(self) -> str:
        """What limits that time."""
        return max(("compute", "memory", "network"), key=lambda name: getattr(self, name))


def cost(
    flops: float, hbm: float, collectives: Sequence[Collective], chip: Chip, chips: int
) -> Cost:
    """The cost of a program on a chip of `chips`."""
    sent = sum(one.sent(chips) for one in collectives)
    times = flops / chip.flops, hbm / chip.bandwidth, sent / chip.network
    return Cost(flops, hbm, sent, *times)


def by_kind(collectives: Sequence[Collective]) -> dict[str, dict[str, float]]:
    """{kind: {"times", "bytes"}}, the bytes of whole arrays, largest first."""
    found: dict[str, dict[str, float]] = {}
    for one in collectives:
        of = found.setdefault(one.kind, {"times": 0.0, "bytes": 0.0})
        of["times"] += one.times
        of["bytes"] += one.times * one.bytes
    return dict(sorted(found.items(), key=lambda item: -item[1]["bytes"]))


class Work(NamedTuple):
    """One kind of work of a whole run.

    Attributes:
      name: a name for the reader.
      calls: {program: how often}.
      tokens: generated or trained on in all.
    """

    name: str
    calls: dict[str, float]
    tokens: float


class Hours(NamedTuple):
    """Time of a kind of work.

    Attributes:
      name: the name of the work.
      hours: its hours at the roofline.
      tokens_per_second: over all chips.
    """

    name: str
    hours: float
    tokens_per_second: float


def hours(work: Sequence[Work], seconds: dict[str, float]) -> list[Hours]:
    """Time and rate of each kind of work.

    Args:
      work: what is to be done.
      seconds: the seconds of one run of each program.
    """
    out = []
    for part in work:
        total = sum(times * seconds[name] for name, times in part.calls.items())
        out.append(Hours(part.name, total / 3600, part.tokens / total if total else 0.0))
    return out
