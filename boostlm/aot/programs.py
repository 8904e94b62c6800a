"""The programs that a run of a config would run, from shapes alone: nothing is loaded or computed.

They are those of the learner itself, for devices that need not be there.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import ShapeDtypeStruct as Shape

from boostlm.aot.chips import host_of
from boostlm.aot.flops import flops
from boostlm.aot.sizes import Sizes
from boostlm.config import Config
from boostlm.lm.cross_entropy import CHUNK_LOGITS
from boostlm.lm.lora import init_adapters
from boostlm.lm.sharding import by_row, replicated
from boostlm.lm.token_sampling import TokenRule, sampling_rule
from boostlm.lm.train_step import Batch, TrainState, jit_train_step, make_optimizer
from boostlm.experiment.evaluate import GREEDY
from boostlm.engine.learner import LanguageLearner
from boostlm.engine.sampler import layout_of, width_of
from boostlm.experiment.context import make_learner


class Program(NamedTuple):
    """One compiled program of a run.

    Attributes:
      name: for the reader.
      lower: () -> what `.compile()` is called on.
      flops: () -> those of a run, on each chip.
      loops: how often its loops of open length run, for the traffic.
      arguments: bytes that its arguments take on each chip, at the least.
      tokens: that a run of it deals with, over all chips.
      rows: responses that a run of it moves on, or prompts that it takes in, over all chips.
      settings: the config's fields that make another, smaller program of it.
    """

    name: str
    lower: Callable[[], Any]
    flops: Callable[[], float]
    loops: float
    arguments: int
    tokens: int
    rows: int
    settings: tuple[str, ...]


class Programs(NamedTuple):
    """All of a run's programs that take time.

    Attributes:
      train: a training step.
      prefill, decode: of sampling training prompts; the latter is one token a row.
      greedy_prefill, greedy_decode: of evaluation, with one row a prompt.
    """

    train: Program
    prefill: Program
    decode: Program
    greedy_prefill: Program
    greedy_decode: Program


def build_programs(config: Config, sizes: Sizes, devices: Sequence[jax.Device]) -> Programs:
    """The programs; raises BoostError where a batch does not divide over the devices."""
    learner = make_learner(config, sizes.model, sizes.vocab_size, sizes.endings, devices)
    here, rule = host_of(devices), sampling_rule(config.sample)
    hosts = len(devices) // len(here)  # each samples by itself
    rows = dataclasses.replace(config.sample, rows=max(1, config.sample.rows // hosts))
    share = dataclasses.replace(config, sample=rows)
    sampling = make_learner(share, sizes.model, sizes.vocab_size, sizes.endings, here)

    def programs(rule: TokenRule, k: int, prompts: int, kind: str) -> tuple[Program, Program]:
        return _sampling(sampling, hosts, sizes, rule, k, -(-prompts // hosts), kind)

    return Programs(
        _training(learner, config, sizes, len(devices)),
        *programs(rule, config.sample.k, config.data.train_prompts, ""),
        *programs(GREEDY, 1, config.data.eval_prompts, "greedy "),
    )


def held_beside(config: Config, sizes: Sizes, devices: Sequence[jax.Device]) -> int:
    """Bytes on the fullest chip that no program is given: the models of this and the first round.

    The learner keeps its parameters while a step has a copy of them, and the seed model's are kept
    for the next arm. Replicated, both lie on the first chip.
    """
    learner = make_learner(config, sizes.model, sizes.vocab_size, sizes.endings, devices)
    params = bytes_of(learner.shapes(learner.model.init, jax.random.key(0)))
    kept = 2 * params
    return kept if config.train.reset_optimizer else kept + 2 * params


def bytes_of(tree: Any) -> int:
    """What arrays take on each chip, without padding."""

    def size(x) -> int:
        shape = x.shape if x.sharding is None else x.sharding.shard_shape(x.shape)
        return math.prod(shape) * x.dtype.itemsize

    return sum(size(x) for x in jax.tree.leaves(tree))


def _key() -> Shape:
    return jax.eval_shape(lambda: jax.random.key(0))


def _training(learner: LanguageLearner, config: Config, sizes: Sizes, chips: int) -> Program:
    settings, rank = config.train.optimizer, config.train.lora_rank
    optimizer = make_optimizer(settings)

    def begin(key) -> TrainState:
        params = learner.model.init(key)
        trained = init_adapters(key, params, rank) if rank else params
        return TrainState(trained, optimizer.init(trained), params if rank else ())

    _, *batch = learner.batch_shape(settings)
    state = learner.shapes(begin, _key())
    width = sizes.prompt + config.sample.max_new_tokens
    prefix_P = Shape((sizes.prefix,), jnp.int32)
    mapped = len(batch) == 2
    step = learner.step_of(settings, optimizer, state)
    given = jax.tree.map(lambda x: Shape((chips, *x.shape), x.dtype), state) if mapped else state

    rows = settings.batch_size // settings.micro_batches
    most = max(1, CHUNK_LOGITS // sizes.vocab_size)
    # The loss takes tokens with weight in chunks: each chip its own if mapped, else all together.
    together = rows // chips if mapped else rows
    chunk = min(most, together * (width - 1))
    loops = math.ceil(together * config.sample.max_new_tokens / chunk)
    own = loops * chunk / (1 if mapped else chips) / min(most, rows // chips * (width - 1))
    alone = jit_train_step(learner.sampler.model, optimizer, settings.micro_batches)

    def count() -> float:
        part = _batch(settings.batch_size // chips, width)
        return flops(alone.trace(jax.eval_shape(begin, _key()), part, prefix_P).jaxpr, own)

    return Program(
        name="training step",
        lower=lambda: step.lower(given, _batch(*batch, width), prefix_P),
        flops=count,
        loops=loops,
        arguments=bytes_of(state),
        tokens=settings.batch_size * width,
        rows=settings.batch_size,
        settings=("compute.parallel", "compute.remat", "train.optimizer.micro_batches"),
    )


def _batch(*shape: int) -> Batch:
    return Batch(Shape(shape, jnp.int32), Shape(shape, jnp.float32))


def _sampling(
    learner: LanguageLearner,
    hosts: int,
    sizes: Sizes,
    rule: TokenRule,
    k: int,
    prompts: int,
    kind: str,
) -> tuple[Program, Program]:
    """Taking prompts in, and decoding one token of each row: of one host, whose learner this is."""
    programs, mesh = learner.sampler.programs_of(rule), learner.mesh
    D, width = mesh.size, width_of(sizes.prompt)
    A, S, C = layout_of(learner.rows, D, prompts, k)

    def placed(tree, sharding):
        return jax.tree.map(lambda x: Shape(x.shape, x.dtype, sharding=sharding), tree)

    model = learner.sampler.model
    params = jax.eval_shape(model.compact, jax.eval_shape(model.init, _key()))
    params = placed(params, replicated(mesh))
    prefix = jax.eval_shape(programs.read_prefix, params, Shape((sizes.prefix,), jnp.int32))
    prefix = placed(prefix, replicated(mesh))
    empty = functools.partial(programs.empty, A=A, S=S, K=k, P=width, D=D)
    slots = placed(jax.eval_shape(empty, _key()), by_row(mesh))
    arrivals = {
        "prompt_CxP": (C, width),
        "length_C": (C,),
        "slot_C": (C,),
        "row_CxK": (C, k),
        "prompt_C": (C,),
        "sample_CxK": (C, k),
    }
    arrivals = {name: Shape((D, *shape), jnp.int32) for name, shape in arrivals.items()}
    admit = (params, prefix, slots, arrivals, _key())
    advance = (params, prefix, slots, Shape((2,), jnp.int32))
    common = {"loops": 1, "arguments": bytes_of((params, prefix, slots))}
    common["settings"] = ("sample.rows",)
    return (
        Program(
            name=f"{kind}prefill",
            lower=lambda: programs.admit.lower(*admit),
            flops=lambda: flops(programs.admit.trace(*admit).jaxpr),
            tokens=hosts * D * C * width,
            rows=hosts * D * C,
            **common,
        ),
        Program(
            name=f"{kind}decoding step",
            lower=lambda: programs.advance.lower(*advance),
            flops=lambda: flops(programs.advance.trace(*advance).jaxpr),
            tokens=hosts * D * A,
            rows=hosts * D * A,
            **common,
        ),
    )
