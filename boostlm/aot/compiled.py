"""Compiles programs, and measures their memory and cost."""

import re
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import jax

from boostlm.aot.chips import Chip
from boostlm.aot.programs import Program, RunPrograms, build_programs, held_beside
from boostlm.aot.roofline import Cost, Memory, cost
from boostlm.aot.sizes import Sizes
from boostlm.aot.traffic import Collective, traffic
from boostlm.config import Config

_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30}


class Measured(NamedTuple):
    """A program on a chip.

    Attributes:
      name: the program's name.
      needs: bytes of HBM, including memory held beside the program.
      fits: whether the chip has that many.
      memory: its memory by kind; None if XLA refused the program.
      cost: likewise.
      collectives: likewise.
      tokens: tokens that one execution processes, over all chips.
    """

    name: str
    needs: float
    fits: bool
    memory: Memory | None
    cost: Cost | None
    collectives: tuple[Collective, ...]
    tokens: int

    def with_beside(self, beside: int, chip: Chip) -> "Measured":
        """The same program with other memory held beside it."""
        if self.memory is None:
            raise ValueError(f"XLA refused {self.name}, so its memory is not known")
        peak = self.memory.peak - self.memory.beside + beside
        memory = self.memory._replace(beside=beside, peak=peak)
        return self._replace(memory=memory, needs=peak, fits=peak <= chip.memory)


def measure(
    program: Program, beside: int, chip: Chip, chips: int, say: Callable[[str], None]
) -> Measured:
    """Compiles a program, unless its arguments alone are too much."""
    least = program.arguments + beside
    refused = Measured(program.name, least, False, None, None, (), program.tokens)
    if least > chip.memory:
        say(f"{program.name}: its arguments alone do not fit")
        return refused
    began = time.monotonic()
    try:
        with _not_cached():
            compiled = program.lower().compile()
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        say(f"{program.name}: XLA finds no way to fit it")
        return refused._replace(needs=max(least, needed(str(error)) + beside))
    say(f"{program.name}: compiled in {time.monotonic() - began:.0f} s")
    memory = memory_of(compiled.memory_analysis(), beside)
    moved = traffic(compiled.as_text(), program.loops)
    return Measured(
        program.name,
        memory.peak,
        memory.peak <= chip.memory,
        memory,
        cost(program.flops(), moved.hbm, moved.collectives, chip, chips),
        moved.collectives,
        program.tokens,
    )


@contextmanager
def _not_cached() -> Generator[None]:
    """Keeps programs out of JAX's persistent cache, which cannot load those of absent devices."""
    name = "jax_persistent_cache_min_compile_time_secs"
    before = getattr(jax.config, name)
    jax.config.update(name, float("inf"))
    try:
        yield
    finally:
        jax.config.update(name, before)


def memory_of(found: Any, beside: int) -> Memory:
    """From XLA's `memory_analysis()`."""
    parts = (
        found.argument_size_in_bytes,
        found.output_size_in_bytes - found.alias_size_in_bytes,
        found.temp_size_in_bytes,  # one block for all temporaries, as large as their peak
        found.generated_code_size_in_bytes,
        beside,
    )
    return Memory(*parts, peak=sum(parts))


def needed(message: str) -> float:
    """The bytes that XLA's refusal of a program names; 0 if it names none."""
    found = re.search(r"Used ([\d.]+)([KMG]?) of|temporaries \(([\d.]+)([KMG]?)\)", message)
    if not found:
        return 0.0
    number, unit = found[1] or found[3], found[2] or found[4] or ""
    return float(number) * _UNITS[unit]


def measure_all(
    config: Config,
    sizes: Sizes,
    chip: Chip,
    devices: Sequence[jax.Device],
    say: Callable[[str], None],
) -> tuple[RunPrograms, dict[str, Measured]]:
    """All programs of a run, and their measurements."""
    programs, beside = build_programs(config, sizes, devices), held_beside(config, sizes, devices)
    measured = {
        name: measure(program, beside, chip, len(devices), say)
        for name, program in programs._asdict().items()
    }
    return programs, measured
