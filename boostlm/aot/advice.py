"""Finds settings with which all programs fit. Each is compiled before it is advised."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import jax

from boostlm.aot.chips import Chip, host_of
from boostlm.aot.compiled import Measured, measure
from boostlm.aot.programs import Program, RunPrograms, build_programs, held_beside
from boostlm.aot.sizes import Sizes
from boostlm.config import Config, ModelConfig
from boostlm.config_io import fields_of, override
from boostlm.engine.choose_mesh import mesh_of
from boostlm.lm.sharding import AXIS

_LORA_RANK = 16  # of the adapters that are advised where all parameters cannot be trained
_TRAIN_FIELDS = (
    "compute.mesh", "compute.remat", "train.optimizer.micro_batches", "train.lora_rank",
)  # fmt: skip
_SAMPLING_FIELDS = ("compute.mesh", "sample.batch_size")


class Target(NamedTuple):
    """What settings are sought for.

    Attributes:
      sizes: of model and prompts.
      chip: its kind.
      devices: of the topology.
      say: tells the reader what is tried.
    """

    sizes: Sizes
    chip: Chip
    devices: Sequence[jax.Device]
    say: Callable[[str], None]


def find_fitting(
    config: Config, target: Target, measured: dict[str, Measured]
) -> tuple[Config | None, dict[str, Measured]]:
    """Settings with which every program fits, and what they take then; or None.

    Each mesh is tried as the config is, then with adapters. There, what does not fit is made
    smaller until it fits or cannot be made any smaller. Nothing is compiled for a mesh on which the
    arguments of the smallest programs alone are too much.

    Args:
      config: that does not fit; its mesh is not "auto".
      target: for which chips.
      measured: the programs of `config`.
    """
    known = {_key(config, name): one for name, one in measured.items()}
    for start in _starts(config, target):
        smallest = start
        for name in RunPrograms._fields:
            while (smaller := _smaller(smallest, name, target)) is not None:
                smallest = smaller
        if _least(smallest, target)[1]:
            target.say(f"{' '.join(options(config, start)) or 'this mesh'}: cannot fit")
            continue
        fitting, found = _shrink(config, start, target, known)
        if fitting is not None:
            return fitting, found
    return None, measured


def _starts(config: Config, target: Target) -> Iterator[Config]:
    """The config on each mesh; then the same with adapters, which do change results."""
    chips, each = len(target.devices), len(host_of(target.devices))
    meshes = [f"{chips // n}x{n}" for n in _parts(target.sizes.model, chips, each)]
    ranks = [config.train.lora_rank]
    if not config.train.lora_rank and config.train.reset_optimizer:
        ranks.append(_LORA_RANK)
    for rank in ranks:
        for mesh in dict.fromkeys([config.compute.mesh, *meshes]):
            yield override(config, [f"--compute.mesh={mesh}", f"--train.lora_rank={rank}"])


def _parts(model: ModelConfig, chips: int, each: int) -> list[int]:
    """In how many parts a model can be split: on a part of a host's chips, or on whole hosts."""
    return [
        n
        for n in range(1, chips + 1)
        if chips % n == model.heads % n == model.mlp_width % n == 0 and 0 in (each % n, n % each)
    ]


def _smaller(config: Config, program: str, target: Target) -> Config | None:
    """The config with the next setting with which a program takes less memory, if there is one.

    None of them changes a result but by rounding: blocks computed twice, batches in more parts,
    fewer responses at once.
    """
    mesh = mesh_of(config.compute.mesh, target.sizes.model, target.devices)
    data = mesh.shape[AXIS] if mesh else len(target.devices)
    if program != "train":
        rows = config.sample.batch_size // 2
        return override(config, [f"--sample.batch_size={rows}"]) if rows >= data else None
    if not config.compute.remat:
        return override(config, ["--compute.remat=true"])
    optimizer = config.train.optimizer
    parts = 2 * optimizer.micro_batches
    if optimizer.batch_size % (parts * data):
        return None
    return override(config, [f"--train.optimizer.micro_batches={parts}"])


def _shrink(
    config: Config, start: Config, target: Target, known: dict[tuple, Measured]
) -> tuple[Config | None, dict[str, Measured]]:
    """Makes what does not fit smaller until it does, or until that ends: then None.

    Args:
      config: to compare with, for the reader.
      start: to begin with.
      target: for which chips.
      known: what has been measured, by program and settings; is added to.
    """
    now = start
    while True:
        programs, too_much = _least(now, target)
        beside = held_beside(now, target.sizes, target.devices)
        if not too_much:  # otherwise nothing needs to be compiled
            target.say(f"trying {' '.join(options(config, now))}")
            for name, program in programs.items():
                if _key(now, name) not in known:
                    chips = len(target.devices)
                    found = measure(program, beside, target.chip, chips, target.say)
                    known[_key(now, name)] = found
        measured = {name: known[_key(now, name)] for name in programs if not too_much}
        misfits = too_much or [name for name, one in measured.items() if not one.fits]
        if not misfits:
            return now, measured
        before = now
        for name in misfits:
            # Two programs may ask for the same setting.
            if _key(now, name) == _key(before, name):
                smaller = _smaller(now, name, target)
                if smaller is None:
                    return None, measured
                now = smaller


def _least(config: Config, target: Target) -> tuple[dict[str, Program], list[str]]:
    """The programs, and which do not fit for their arguments and what is held beside them alone."""
    programs = build_programs(config, target.sizes, target.devices)._asdict()
    beside = held_beside(config, target.sizes, target.devices)
    return programs, [
        name for name, p in programs.items() if p.arguments + beside > target.chip.memory
    ]


def _key(config: Config, program: str) -> tuple:
    """A program and the settings that it depends on."""
    of, fields = fields_of(config), _TRAIN_FIELDS if program == "train" else _SAMPLING_FIELDS
    return program, *(of[name] for name in fields)


def changes(old: Config, new: Config) -> dict[str, object]:
    """{field: new value} for each field that differs."""
    before = fields_of(old)
    return {name: value for name, value in fields_of(new).items() if value != before[name]}


def options(old: Config, new: Config) -> list[str]:
    """The changes as command-line options."""
    return [f"--{name} {str(value).lower()}" for name, value in changes(old, new).items()]
