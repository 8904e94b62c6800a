"""Finds settings with which all programs fit. Each is compiled before it is advised."""

from collections.abc import Callable, Collection, Iterator, Sequence

import jax

from boostlm.aot.chips import Chip
from boostlm.aot.compiled import Measured, measure
from boostlm.aot.programs import build_programs, held_beside
from boostlm.aot.sizes import Sizes
from boostlm.config import Config
from boostlm.config_io import fields_of, override


def candidates(config: Config, chips: int, fields: Collection[str]) -> Iterator[Config]:
    """Configs that take less memory, in order of the time that they cost.

    Each keeps what the ones before it changed: parameters split over the chips, blocks computed
    twice, batches in more parts, fewer responses at once. None of this changes a result but by
    rounding.

    Args:
      config: the config to begin with.
      chips: the topology's chips.
      fields: the fields that may be changed.
    """
    if chips > 1 and config.compute.parallel != "fsdp" and "compute.parallel" in fields:
        config = override(config, ["--compute.parallel=fsdp"])
        yield config
    if not config.compute.remat and "compute.remat" in fields:
        config = override(config, ["--compute.remat=true"])
        yield config
    batch, parts = config.train.optimizer.batch_size, config.train.optimizer.micro_batches
    while "train.optimizer.micro_batches" in fields and batch % (2 * parts * chips) == 0:
        parts *= 2
        config = override(config, [f"--train.optimizer.micro_batches={parts}"])
        yield config
    rows = config.sample.batch_size
    while "sample.batch_size" in fields and rows > chips:
        rows = max(chips, rows // 2)
        config = override(config, [f"--sample.batch_size={rows}"])
        yield config


def find_fitting(
    config: Config,
    sizes: Sizes,
    chip: Chip,
    devices: Sequence[jax.Device],
    measured: dict[str, Measured],
    say: Callable[[str], None],
) -> tuple[Config | None, dict[str, Measured]]:
    """The first candidate with which every program fits, and what they take then; or None.

    A program is compiled again only if a candidate changes it.
    """
    before, programs = config, build_programs(config, sizes, devices)
    matter = {"compute.parallel"}  # the memory held beside each program changes
    for name, one in measured.items():
        matter |= set() if one.fits else set(getattr(programs, name).settings)
    for candidate in candidates(config, len(devices), matter):
        changed = changes(before, candidate)
        before = candidate
        say(f"trying {' '.join(options(config, candidate))}")
        programs = build_programs(candidate, sizes, devices)
        beside = held_beside(candidate, sizes, devices)
        # Programs that did not fit come first: if one still does not, the others are not compiled.
        for name in sorted(measured, key=lambda name: measured[name].fits):
            program, now = getattr(programs, name), measured[name]
            if now.memory is None or set(changed) & set(program.settings):
                now = measure(program, beside, chip, len(devices), say)
            else:
                now = now.with_beside(beside, chip)
            measured = {**measured, name: now}
            if not now.fits:
                break
        if all(one.fits for one in measured.values()):
            return candidate, measured
    return None, measured


def changes(old: Config, new: Config) -> dict[str, object]:
    """{field: new value} for each field that differs."""
    before = fields_of(old)
    return {name: value for name, value in fields_of(new).items() if value != before[name]}


def options(old: Config, new: Config) -> list[str]:
    """The changes as command-line options."""
    return [f"--{name} {str(value).lower()}" for name, value in changes(old, new).items()]
