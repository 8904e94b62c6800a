"""`boostlm compile`: compiles a config for a TPU and prints a table or JSON."""

import json
import sys
from typing import Any

import jax

from boostlm.aot.advice import find_fitting, options
from boostlm.aot.chips import Chip, chips_of
from boostlm.aot.compiled import Measured, measure_all
from boostlm.aot.roofline import Hours, by_kind, hours
from boostlm.aot.sizes import Sizes, measured_sizes, named_sizes, parameters
from boostlm.aot.summary import binary, compile_table
from boostlm.aot.workload import workload
from boostlm.config import Config
from boostlm.errors import BoostError


def compile_for(
    config: Config,
    topology: str,
    *,
    price: float | None = None,
    as_json: bool = False,
    quick: bool = False,
    model: str | None = None,
    prefix_tokens: int | None = None,
    prompt_tokens: int | None = None,
    response_tokens: float | None = None,
    memory: float | None = None,
) -> None:
    """Prints the memory, time and cost of a run on a TPU.

    Args:
      config: the run's config.
      topology: such as "v5e:2x4".
      price: per chip and hour.
      as_json: print JSON rather than a table.
      quick: compile with XLA's least effort.
      model: the name of a Gemma, if the config's model is not on this machine.
      prefix_tokens, prompt_tokens: lengths of prompts, with `model` only.
      response_tokens: mean length of a response; None for the limit.
      memory: HBM of a chip in bytes, instead of its own.

    Raises:
      BoostError: a program does not fit; the message says by how much and names a setting that
        helps, if there is one. Also an unknown topology, a missing libtpu, or a batch that does
        not divide over the devices.
    """
    limit = config.sample.max_new_tokens
    if response_tokens is not None and not 0 < response_tokens <= limit:
        raise BoostError(
            f"--response-tokens {response_tokens:g}: above 0, at most sample.max_new_tokens {limit}"
        )
    chip, devices = chips_of(topology)
    if quick:
        jax.config.update("jax_exec_time_optimization_effort", -1.0)
    if memory is not None:
        chip = chip._replace(memory=memory)
    if model:
        sizes = named_sizes(config, model, prefix_tokens, prompt_tokens)
    elif prefix_tokens is not None or prompt_tokens is not None:
        raise BoostError("--prefix-tokens and --prompt-tokens need --model")
    else:
        sizes = measured_sizes(config)

    def say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    programs, measured = measure_all(config, sizes, chip, devices, say)
    misfits = [one for one in measured.values() if not one.fits]
    work = []
    if not misfits:
        seconds = {name: one.cost.seconds for name, one in measured.items() if one.cost}
        work = hours(workload(config, programs, response_tokens), seconds)
    report = _report(topology, chip, len(devices), sizes, measured, work, price)
    report["response_tokens"] = response_tokens or limit
    report["quick"] = quick
    fitting = None
    if misfits:
        fitting, then = find_fitting(config, sizes, chip, devices, measured, say)
        if fitting:
            report["advice"] = options(config, fitting)
            report["with_advice"] = [_program(one) for one in then.values()]
    print(json.dumps(report, indent=2) if as_json else compile_table(report))
    if misfits:
        raise BoostError(_refusal(chip, topology, misfits, report["advice"]))


def _refusal(chip: Chip, topology: str, misfits: list[Measured], advice: list[str]) -> str:
    def said(one: Measured) -> str:
        if one.needs <= chip.memory:
            return f"{one.name} takes more than that; XLA does not say how much"
        return (
            f"{one.name} takes {binary(one.needs)}{' or more' * (one.memory is None)}, "
            f"{binary(one.needs - chip.memory)} more than a chip has"
        )

    remedy = "No setting that we know of makes it fit: take more or larger chips or a smaller model"
    if advice:
        remedy = f"With {' '.join(advice)} it fits (compiled, too)"
    return (
        f"this does not fit on {topology} ({binary(chip.memory)} a chip): "
        f"{'; '.join(map(said, misfits))}. {remedy}"
    )


def _report(
    topology: str,
    chip: Chip,
    chips: int,
    sizes: Sizes,
    measured: dict[str, Measured],
    work: list[Hours],
    price: float | None,
) -> dict[str, Any]:
    total = sum(part.hours for part in work)
    return {
        "topology": topology,
        "chips": chips,
        "chip": chip._asdict(),
        "model": {"parameters": parameters(sizes), "vocab_size": sizes.vocab_size},
        "prompts": {
            "prefix": sizes.prefix,
            "longest": sizes.prompt,
            "source": sizes.source,
        },
        "fits": all(one.fits for one in measured.values()),
        "programs": [_program(one) for one in measured.values()],
        "work": [part._asdict() for part in work],
        "hours": total if work else None,
        "cost": total * chips * price if work and price is not None else None,
        "advice": [],
    }


def _program(one: Measured) -> dict[str, Any]:
    found = {"name": one.name, "fits": one.fits, "needs": one.needs, "tokens": one.tokens}
    if one.cost is None or one.memory is None:
        return found
    return found | {
        "memory": one.memory._asdict(),
        "cost": one.cost._asdict() | {"seconds": one.cost.seconds, "bound": one.cost.bound},
        "collectives": by_kind(one.collectives),
    }
