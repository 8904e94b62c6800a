"""A language model on all devices: sampling and training over arrays of prompts.

Every host samples its own share of the prompts on its own devices, and then knows what all sampled.
It trains on its own rows of each batch.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from boostlm.config import OptimizerConfig
from boostlm.errors import BoostError
from boostlm.lm.generate import Responses
from boostlm.lm.language_model import NO_PREFIX, LanguageModel, Params
from boostlm.lm.lora import merged
from boostlm.lm.sharding import by_row, device_mesh, placed, shardings
from boostlm.lm.token_sampling import TokenRule
from boostlm.lm.train_step import (
    Batch,
    TrainState,
    jit_train_step,
    make_optimizer,
    pmap_train_step,
    shard_train_step,
)
from boostlm.runtime import multihost as hosts
from boostlm.runtime import preemption
from boostlm.runtime.preemption import Preempted
from boostlm.engine.prompt_table import PromptTable
from boostlm.engine.sampler import Groups, Progress, Sampler, group_pairs
from boostlm.storage.partial_stages import Unfinished, UnfinishedSamples
from boostlm.engine.tokenizer import Tokenizer


class LearnerState(NamedTuple):
    """A model between rounds.

    Attributes:
      params: of the model.
      optimizer_state: to go on from, or None to start afresh.
      loss: float32 scalar, the last training's mean loss over its last tenth; NaN if any step's
        loss was not finite.
    """

    params: Params
    optimizer_state: Any
    loss: Any


class LanguageLearner:
    """Compiled sampling and training for one model, spread over all devices."""

    def __init__(
        self,
        model: LanguageModel,
        endings: Sequence[Sequence[int]],
        max_new_tokens: int,
        rows: int,
        devices: Sequence[jax.Device] | None = None,
        sharded: bool = False,
        sampling_model: LanguageModel | None = None,
    ):
        """Sets up sampling and training.

        Args:
          model: its functions.
          endings: token sequences that end a response.
          max_new_tokens: response length limit (R).
          rows: responses decoded at once, over all devices.
          devices: to use; None for those of all hosts.
          sampling_model: the same model for sampling, where each device has all parameters; None:
            `model`.
          sharded: split parameters and optimizer state over the devices (`functional.sharding`),
            rather than have them on each; `model` then keeps to `device_mesh(devices)`.
        """
        self.model = model
        self.devices = list(devices or jax.devices())
        self.sharded = sharded
        self.mesh = device_mesh(self.devices)
        self.rows = rows
        host = jax.process_index()
        self._here = [i for i, d in enumerate(self.devices) if d.process_index == host]
        here = device_mesh([self.devices[i] for i in self._here])
        rows_here = max(1, rows * here.size // self.mesh.size)
        self._local_mesh = here
        self.sampler = Sampler(sampling_model or model, endings, max_new_tokens, rows_here, here)
        self._steps: dict[tuple[OptimizerConfig, bool], Callable] = {}

    def init(self, key: jax.Array) -> LearnerState:
        """A fresh model."""
        at = shardings(self.mesh, jax.eval_shape(self.model.init, key)) if self.sharded else None
        return LearnerState(jax.jit(self.model.init, out_shardings=at)(key), None, np.float32(0))

    def shapes(self, make: Callable, *args) -> Any:
        """`jax.eval_shape` of parameters or optimizer state, with where the arrays are to lie."""
        found = jax.eval_shape(make, *args)
        if not self.sharded:
            return found
        return jax.tree.map(
            lambda x, at: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=at),
            found,
            shardings(self.mesh, found),
        )

    def sample(
        self,
        params: Params,
        prompts: PromptTable,
        key: jax.Array,
        rule: TokenRule,
        k: int,
        progress: Progress = lambda done, total: None,
        unfinished: UnfinishedSamples | None = None,
    ) -> Responses:
        """K responses to every prompt, as numpy arrays [N, K, ...].

        Response k of prompt n depends on params, the prompt, key, n and k only.

        Args:
          params: of the model.
          prompts: N prompts.
          key: of the round.
          rule: how tokens are drawn.
          k: responses to each.
          progress: called as (prompts done, prompts in all) of this host.
          unfinished: where what is done is kept when SIGTERM comes, and gone on from.

        Raises:
          Preempted: SIGTERM came.
        """
        N = len(prompts.length_N)
        groups = Groups(np.arange(N), np.broadcast_to(np.arange(k), (N, k)))
        return self._sample(params, prompts, groups, key, rule, progress, unfinished)

    def sample_pairs(
        self,
        params: Params,
        prompts: PromptTable,
        prompt_id_L: np.ndarray,
        sample_L: np.ndarray,
        key: jax.Array,
        rule: TokenRule,
        progress: Progress = lambda done, total: None,
    ) -> Responses:
        """One response for each pair of a prompt and a sample number, as numpy arrays [L, ...].

        The response of a pair is what `sample` gives for it.
        """
        groups, (m_L, k_L) = group_pairs(prompt_id_L, sample_L)
        responses = self._sample(params, prompts, groups, key, rule, progress)
        return jax.tree.map(lambda x: x[m_L, k_L], responses)

    def _sample(
        self, params, prompts, groups: Groups, key, rule, progress, unfinished=None
    ) -> Responses:
        """The responses of every group, on every host."""
        params = self.sampler.ready(params)
        M = len(groups.prompt_M)
        kept, done_M = unfinished.load(M) if unfinished else (None, np.zeros(M, bool))
        missing = np.flatnonzero(~done_M)
        if kept is not None and not missing.size:
            return kept

        def share(i):
            mine = Groups(*(x[missing[i]] for x in groups))
            asked = preemption.asked
            return self.sampler.sample(params, prompts, mine, key, rule, progress, asked)

        made, done = hosts.by_share(len(missing), share)
        if kept is not None:
            for into, new in zip(kept, made, strict=True):
                into[missing] = new
            made = kept
        if not done.all():
            if unfinished:
                done_M[missing] = done
                unfinished.keep(made, done_M)
            raise Preempted
        return made

    def train(
        self,
        state: LearnerState,
        rows: Batch,
        config: OptimizerConfig,
        progress: Callable[[int, int], None] = lambda done, total: None,
        prefix_P: np.ndarray = NO_PREFIX,
        unfinished: Unfinished | None = None,
        adapters: Params | None = None,
    ) -> LearnerState:
        """Trains for `config.steps` steps on consecutive batches of `rows`.

        Args:
          state: parameters to go on from, and optimizer state or None.
          rows: numpy [steps * batch_size, T].
          config: the optimizer's settings.
          progress: called as (steps done, steps in all).
          prefix_P: int32, tokens that stand before every row.
          unfinished: where the state is kept when SIGTERM comes, and gone on from.
          adapters: from `init_adapters`; given, only they are trained, and merged in at the end.

        Returns:
          The new state, with its optimizer state (None after training adapters).
        """
        shape = self.batch_shape(config)
        optimizer = make_optimizer(config)
        begin = (state.params, state.optimizer_state, ())
        if adapters is not None:
            begin = (adapters, None, state.params)
        train_state, losses = self._begin(TrainState(*begin), optimizer, unfinished, config.steps)
        step = self.step_of(config, optimizer, train_state)
        batches = jax.tree.map(lambda x: x.reshape(*shape, x.shape[-1]), rows)
        one = _first_copy if self._mapped else (lambda x: x)
        reported = time.monotonic()
        every = 1  # steps between reports: as many as take 2 seconds, at most 20
        for i in range(len(losses), config.steps):
            batch = self._fed(jax.tree.map(lambda x, i=i: x[i], batches))
            train_state, metrics = step(train_state, batch, prefix_P)
            losses.append(one(metrics.loss))
            if (i + 1) % every == 0:
                jax.block_until_ready(metrics)  # bounds the queue, and keeps progress true
                seconds = time.monotonic() - reported
                seconds, preempted = hosts.largest([seconds, float(preemption.asked())])
                reported = time.monotonic()
                every = int(np.clip(2 * every / max(seconds, 1e-3), 1, 20))
                progress(i + 1, config.steps)
                if preempted:
                    if unfinished is not None:
                        unfinished.keep(jax.tree.map(one, train_state), losses, config.steps)
                    raise Preempted
        train_state = jax.tree.map(one, train_state)
        losses = np.array([float(x) for x in losses])
        loss = np.mean(losses[-max(1, config.steps // 10) :])
        loss = np.float32(loss if np.all(np.isfinite(losses)) else np.nan)
        if adapters is None:
            return LearnerState(train_state.params, train_state.optimizer_state, loss)
        return LearnerState(jax.jit(merged)(train_state.variables()), None, loss)

    @property
    def _mapped(self) -> bool:
        return len(self.devices) > 1 and not self.sharded

    def batch_shape(self, config: OptimizerConfig) -> tuple[int, ...]:
        """Steps, devices of all hosts if they are mapped over, and rows."""
        devices, parts = len(self.devices), config.micro_batches
        if config.batch_size % (devices * parts):
            raise BoostError(
                f"batch_size {config.batch_size} does not divide over {devices} devices and "
                f"{parts} micro-batches: make it a multiple of {devices * parts}"
            )
        if self._mapped:
            return config.steps, devices, config.batch_size // devices
        return config.steps, config.batch_size

    def _begin(
        self, begin: TrainState, optimizer, unfinished: Unfinished | None, steps: int
    ) -> tuple[TrainState, list]:
        """The state to go on from, where a step wants it, and the losses so far.

        A copy, because a step donates its state.

        Args:
          begin: whose optimizer state may be None, for a fresh one.
          optimizer: makes it.
          unfinished: where a state after some of the steps may lie.
          steps: in all.
        """
        losses = []
        if unfinished is not None:
            fresh = begin.optimizer_state or jax.eval_shape(optimizer.init, begin.params)
            kept, losses = unfinished.load(begin._replace(optimizer_state=fresh), steps)
            begin = kept or begin
        params, optimizer_state = self._place(begin.params), begin.optimizer_state
        if optimizer_state is not None:
            optimizer_state = self._place(optimizer_state)
        elif self._mapped:
            optimizer_state = self._place(jax.jit(optimizer.init)(begin.params))
        else:
            shapes = self.shapes(optimizer.init, params)
            at = jax.tree.map(lambda x: x.sharding, shapes) if self.sharded else None
            optimizer_state = jax.jit(optimizer.init, out_shardings=at)(params)
        return TrainState(params, optimizer_state, self._place(begin.frozen)), losses

    def _place(self, tree: Any) -> Any:
        if self.sharded:
            return jax.tree.map(placed, tree, shardings(self.mesh, tree))
        if not self._mapped:
            return jax.tree.map(jnp.array, tree)
        at = by_row(self._local_mesh)
        return jax.tree.map(
            lambda x: jax.device_put(np.broadcast_to(x, (len(self._here), *x.shape)), at),
            jax.tree.map(np.asarray, tree),
        )

    def _fed(self, batch: Batch) -> Batch:
        """A batch where a step wants it: this host's rows of it."""
        if self.sharded:
            return jax.tree.map(lambda x: placed(x, by_row(self.mesh)), batch)
        return jax.tree.map(lambda x: x[self._here], batch) if self._mapped else batch

    def step_of(self, config: OptimizerConfig, optimizer, state: TrainState) -> Callable:
        """The training step for a state (or its shapes), jitted, pmapped or sharded."""
        name, parts = (config, bool(state.frozen)), config.micro_batches
        if name not in self._steps:
            if self.sharded:
                step = shard_train_step(self.model, optimizer, self.mesh, state, parts)
            elif self._mapped:
                step = pmap_train_step(self.model, optimizer, parts, self.devices)
            else:
                step = jit_train_step(self.model, optimizer, parts)
            self._steps[name] = step
        return self._steps[name]


def _first_copy(x: jax.Array) -> jax.Array:
    """x[0] of an array that is split by its first axis, taken where it lies."""
    return x.addressable_shards[0].data[0]


def texts_of(tokenizer: Tokenizer, tokens_CxR: np.ndarray, length_C: np.ndarray) -> list[str]:
    """Decoded responses, stop tokens and padding left out."""
    return [
        tokenizer.decode(row[:length].tolist())
        for row, length in zip(tokens_CxR, length_C, strict=True)
    ]
