"""The programs of a run, built from shapes alone: nothing is loaded or computed.

They are the learner's own programs, for devices that need not exist.
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
from boostlm.engine.learner import LanguageLearner
from boostlm.engine.slot_layout import Layout, layout_of, no_new_prompts, width_of
from boostlm.experiment.context import make_learner
from boostlm.experiment.evaluate import GREEDY
from boostlm.lm.cross_entropy import CHUNK_LOGITS
from boostlm.lm.lora import init_adapters
from boostlm.lm.sharding import replicated_sharding, row_sharding
from boostlm.lm.token_sampling import SamplingParams, sampling_params_of
from boostlm.lm.train_step import Batch, TrainState, jit_train_step, make_optimizer


class Program(NamedTuple):
    """One compiled program of a run.

    Attributes:
      name: a name for the reader.
      lower: () -> the lowered program.
      flops: () -> FLOPs of one execution, on each chip.
      loops: iterations of its loops of unknown length, for the traffic.
      arguments: least bytes of its arguments on each chip.
      tokens: tokens that one execution processes, over all chips.
      rows: responses that one execution decodes, or prompts that it prefills, over all chips.
      settings: config fields that make this program smaller.
    """

    name: str
    lower: Callable[[], Any]
    flops: Callable[[], float]
    loops: float
    arguments: int
    tokens: int
    rows: int
    settings: tuple[str, ...]


class RunPrograms(NamedTuple):
    """All of a run's programs that take time.

    Attributes:
      train: a training step.
      prefill, decode: for sampling training prompts; decode makes one token a row.
      greedy_prefill, greedy_decode: for evaluation, with one row a prompt.
    """

    train: Program
    prefill: Program
    decode: Program
    greedy_prefill: Program
    greedy_decode: Program


def build_programs(config: Config, sizes: Sizes, devices: Sequence[jax.Device]) -> RunPrograms:
    """The programs; raises BoostError where a batch does not divide over the devices."""
    learner = make_learner(config, sizes.model, sizes.vocab_size, sizes.stop_sequences, devices)
    here, sampling = host_of(devices), sampling_params_of(config.sample)
    hosts = len(devices) // len(here)  # each host samples by itself
    own = dataclasses.replace(config.sample, batch_size=max(1, config.sample.batch_size // hosts))
    share = dataclasses.replace(config, sample=own)
    sampler_learner = make_learner(share, sizes.model, sizes.vocab_size, sizes.stop_sequences, here)

    def programs(
        sampling: SamplingParams, k: int, prompts: int, kind: str
    ) -> tuple[Program, Program]:
        return _sampling(sampler_learner, hosts, sizes, sampling, k, -(-prompts // hosts), kind)

    return RunPrograms(
        _training(learner, config, sizes, len(devices)),
        *programs(sampling, config.sample.k, config.data.train_prompts, ""),
        *programs(GREEDY, 1, config.data.eval_prompts, "greedy "),
    )


def held_beside(config: Config, sizes: Sizes, devices: Sequence[jax.Device]) -> int:
    """Bytes on the fullest chip that no program takes as an argument: the models that a run keeps.

    The learner keeps its parameters while a step has a copy of them, and the seed model's are kept
    for the next arm. Without splitting, the first chip holds both.
    """
    learner = make_learner(config, sizes.model, sizes.vocab_size, sizes.stop_sequences, devices)
    params = bytes_of(learner.parallel.shapes(learner.model.init, jax.random.key(0)))
    kept = 2 * params
    return kept if config.train.reset_optimizer else kept + 2 * params


def bytes_of(tree: Any) -> int:
    """Bytes of arrays on each chip, without padding."""

    def size(x: Any) -> int:
        shape = x.shape if x.sharding is None else x.sharding.shard_shape(x.shape)
        return math.prod(shape) * x.dtype.itemsize

    return sum(size(x) for x in jax.tree.leaves(tree))


def _key() -> Shape:
    return jax.eval_shape(lambda: jax.random.key(0))


def _training(learner: LanguageLearner, config: Config, sizes: Sizes, chips: int) -> Program:
    settings, rank = config.train.optimizer, config.train.lora_rank
    optimizer = make_optimizer(settings)

    def begin(key: jax.Array) -> TrainState:
        params = learner.model.init(key)
        trained = init_adapters(key, params, rank) if rank else params
        return TrainState(trained, optimizer.init(trained), params if rank else ())

    _, *batch = learner.parallel.batch_shape(settings)
    state = learner.parallel.shapes(begin, _key())
    width = sizes.prompt + config.sample.max_new_tokens
    prefix_P = Shape((sizes.prefix,), jnp.int32)
    mapped = len(batch) == 2
    step = learner.step_of(settings, optimizer, state)
    given = jax.tree.map(lambda x: Shape((chips, *x.shape), x.dtype), state) if mapped else state

    rows = settings.batch_size // settings.micro_batches
    most = max(1, CHUNK_LOGITS // sizes.vocab_size)
    # The loss goes over tokens with weight in chunks: under pmap each chip has its own.
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
    tokens: Any = Shape(shape, jnp.int32)  # stands for an array
    weight: Any = Shape(shape, jnp.float32)
    return Batch(tokens, weight)


def _sampling(
    learner: LanguageLearner,
    hosts: int,
    sizes: Sizes,
    sampling: SamplingParams,
    k: int,
    prompts: int,
    kind: str,
) -> tuple[Program, Program]:
    """Prefill, and decoding one token for each row, on one host."""
    programs, mesh = learner.sampler.programs_of(sampling), learner.mesh
    D, width = mesh.size, width_of(sizes.prompt)
    A, S, C = layout_of(learner.batch_size, D, prompts, k)

    def with_sharding(tree: Any, sharding: jax.sharding.Sharding) -> Any:
        return jax.tree.map(lambda x: Shape(x.shape, x.dtype, sharding=sharding), tree)

    model = learner.sampler.model
    params = jax.eval_shape(model.compact, jax.eval_shape(model.init, _key()))
    params = with_sharding(params, replicated_sharding(mesh))
    prefix = jax.eval_shape(programs.read_prefix, params, Shape((sizes.prefix,), jnp.int32))
    prefix = with_sharding(prefix, replicated_sharding(mesh))
    empty = functools.partial(programs.empty, A=A, S=S, K=k, P=width, D=D)
    slots = with_sharding(jax.eval_shape(empty, _key()), row_sharding(mesh))
    new = jax.tree.map(
        lambda x: Shape(x.shape, x.dtype), no_new_prompts(Layout(A, S, C), D, k, width)
    )
    insert_args = (params, prefix, slots, new, _key())
    decode_args = (params, prefix, slots, Shape((2,), jnp.int32))
    common: dict[str, Any] = {"loops": 1, "arguments": bytes_of((params, prefix, slots))}
    common["settings"] = ("sample.batch_size",)
    return (
        Program(
            name=f"{kind}prefill",
            lower=lambda: programs.insert.lower(*insert_args),
            flops=lambda: flops(programs.insert.trace(*insert_args).jaxpr),
            tokens=hosts * D * C * width,
            rows=hosts * D * C,
            **common,
        ),
        Program(
            name=f"{kind}decoding step",
            lower=lambda: programs.decode.lower(*decode_args),
            flops=lambda: flops(programs.decode.trace(*decode_args).jaxpr),
            tokens=hosts * D * A,
            rows=hosts * D * A,
            **common,
        ),
    )
