"""A language model on this host's devices: sampling and training over arrays of prompts."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from boostlm.config import OptimizerConfig
from boostlm.errors import BoostError
from boostlm.functional.generate import Responses, TokenRule, generate
from boostlm.functional.language_model import NO_PREFIX, LanguageModel, Params
from boostlm.functional.lora import merged
from boostlm.functional.prng import row_keys
from boostlm.functional.sharding import by_row, device_mesh, replicated, shardings
from boostlm.functional.train_step import (
    Batch,
    TrainState,
    jit_train_step,
    make_optimizer,
    pmap_train_step,
    shard_train_step,
)
from boostlm.tasks.tokenizer import PAD_ID, Tokenizer


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


class PromptTable(NamedTuple):
    """Tokenized prompts: tokens_NxP int32 padded on the right, length_N int32."""

    tokens_NxP: np.ndarray
    length_N: np.ndarray


def tokenize_prompts(tokenizer: Tokenizer, texts: Sequence[str], limit: int) -> PromptTable:
    """Tokenizes prompts; one longer than `limit` is a BoostError that names it."""
    rows = [tokenizer.encode_prompt(text) for text in texts]
    longest = max(range(len(rows)), key=lambda i: len(rows[i]))
    if len(rows[longest]) > limit:
        raise BoostError(
            f"prompt {longest} has {len(rows[longest])} tokens, more than data.max_prompt_tokens "
            f"{limit}: raise that field to {len(rows[longest])} or more ({texts[longest][:60]!r})"
        )
    length_N = np.array([len(r) for r in rows], np.int32)
    return PromptTable(pad_rows(rows, limit), length_N)


def pad_rows(rows: Sequence[Sequence[int]], width: int) -> np.ndarray:
    """Token lists as int32 [len(rows), width], padded on the right."""
    out = np.full((len(rows), width), PAD_ID, np.int32)
    for i, row in enumerate(rows):
        out[i, : len(row)] = row
    return out


def training_rows(
    prompts: PromptTable, prompt_id_C: np.ndarray, tokens_CxR: np.ndarray, length_C: np.ndarray
) -> Batch:
    """Rows of prompt and response, with weight 1 on the response's tokens, EOS included.

    Args:
      prompts: P tokens wide.
      prompt_id_C: int32.
      tokens_CxR: int32, responses.
      length_C: int32, their lengths.

    Returns:
      Batch of numpy arrays [C, P + R].
    """
    C, R = tokens_CxR.shape
    width = prompts.tokens_NxP.shape[1] + R
    place_T = np.arange(width)[None]
    start_C = prompts.length_N[prompt_id_C][:, None]
    in_response = (place_T >= start_C) & (place_T < start_C + length_C[:, None])
    tokens = np.full((C, width), PAD_ID, np.int32)
    tokens[:, : prompts.tokens_NxP.shape[1]] = prompts.tokens_NxP[prompt_id_C]
    source = np.clip(place_T - start_C, 0, R - 1)
    tokens = np.where(in_response, np.take_along_axis(tokens_CxR, source, axis=1), tokens)
    return Batch(tokens, in_response.astype(np.float32))


class LanguageLearner:
    """Compiled sampling and training for one model, spread over all local devices."""

    def __init__(
        self,
        model: LanguageModel,
        stop_ids: tuple[int, ...],
        max_new_tokens: int,
        batch_prompts: int,
        devices: Sequence[jax.Device] | None = None,
        sharded: bool = False,
    ):
        """Sets up sampling and training.

        Args:
          model: its functions.
          stop_ids: tokens that end a response.
          max_new_tokens: response length limit (R).
          batch_prompts: prompts sampled at once, rounded up to fill the devices.
          devices: to use; None for all of this host's.
          sharded: split parameters and optimizer state over the devices (`functional.sharding`),
            rather than have them on each; `model` then keeps to `device_mesh(devices)`.
        """
        self.model = model
        self.stop_ids = stop_ids
        self.max_new_tokens = max_new_tokens
        self.devices = list(devices or jax.local_devices())
        self.sharded = sharded
        self.batch_prompts = -(-batch_prompts // len(self.devices)) * len(self.devices)
        self.mesh = device_mesh(self.devices)
        self._by_row = by_row(self.mesh)
        self._samplers: dict[tuple[TokenRule, int], Callable] = {}
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
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> Responses:
        """K responses to every prompt, as numpy arrays [N, K, ...].

        Response k of prompt n depends on params, the prompt, key, n and k only.
        """
        N, B = len(prompts.length_N), self.batch_prompts
        sampler = self._sampler(rule, k)
        at = shardings(self.mesh, params) if self.sharded else replicated(self.mesh)
        params = jax.device_put(params, at)
        parts = []
        for start in range(0, N, B):
            ids = np.minimum(np.arange(start, start + B), N - 1).astype(np.int32)
            rows = jax.device_put(
                (prompts.tokens_NxP[ids], prompts.length_N[ids], ids), self._by_row
            )
            parts.append(sampler(params, *rows, key))
            progress(min(start + B, N), N)
        joined = jax.tree.map(lambda *xs: np.concatenate([np.asarray(x) for x in xs])[:N], *parts)
        return joined

    def _sampler(self, rule: TokenRule, k: int) -> Callable:
        if (rule, k) not in self._samplers:
            run = functools.partial(
                generate,
                self.model,
                max_new_tokens=self.max_new_tokens,
                stop_ids=self.stop_ids,
                pad_id=PAD_ID,
                rule=rule,
            )
            self._samplers[rule, k] = jax.jit(
                lambda params, tokens, length, ids, key: run(
                    params, tokens, length, row_keys(key, ids, k)
                ),
                out_shardings=self._by_row,
            )
        return self._samplers[rule, k]

    def train(
        self,
        state: LearnerState,
        rows: Batch,
        config: OptimizerConfig,
        progress: Callable[[int, int], None] = lambda done, total: None,
        prefix_P: np.ndarray = NO_PREFIX,
        adapters: Params | None = None,
    ) -> LearnerState:
        """Trains for `config.steps` steps on consecutive batches of `rows`.

        Args:
          state: parameters to go on from, and optimizer state or None.
          rows: numpy [steps * batch_size, T].
          config: the optimizer's settings.
          progress: called as (steps done, steps in all).
          prefix_P: int32, tokens that stand before every row.
          adapters: from `init_adapters`; given, only they are trained, and merged in at the end.

        Returns:
          The new state, with its optimizer state (None after training adapters).
        """
        shape = self._batch_shape(config)
        optimizer = make_optimizer(config)
        trained, frozen = (state.params, ()) if adapters is None else (adapters, state.params)
        train_state = self._spread(trained, state.optimizer_state, frozen, optimizer)
        step = self._step(config, optimizer, train_state)
        batches = jax.tree.map(lambda x: x.reshape(*shape, x.shape[-1]), rows)
        losses = []
        for i in range(config.steps):
            batch = jax.tree.map(lambda x, i=i: x[i], batches)
            train_state, metrics = step(train_state, batch, prefix_P)
            losses.append(metrics.loss)
            if i % 20 == 19:
                jax.block_until_ready(metrics)  # bounds the queue, and keeps progress true
                progress(i + 1, config.steps)
        if self._mapped:
            train_state, losses = jax.tree.map(lambda x: x[0], (train_state, losses))
        losses = np.array([float(x) for x in losses])
        loss = np.mean(losses[-max(1, config.steps // 10) :])
        loss = np.float32(loss if np.all(np.isfinite(losses)) else np.nan)
        if adapters is None:
            return LearnerState(train_state.params, train_state.optimizer_state, loss)
        return LearnerState(jax.jit(merged)(train_state.variables()), None, loss)

    @property
    def _mapped(self) -> bool:
        return len(self.devices) > 1 and not self.sharded

    def _batch_shape(self, config: OptimizerConfig) -> tuple[int, ...]:
        """Steps, devices if they are mapped over, and rows."""
        devices, parts = len(self.devices), config.micro_batches
        if config.batch_size % (devices * parts):
            raise BoostError(
                f"batch_size {config.batch_size} does not divide over {devices} devices and "
                f"{parts} micro-batches: make it a multiple of {devices * parts}"
            )
        if self._mapped:
            return config.steps, devices, config.batch_size // devices
        return config.steps, config.batch_size

    def _spread(self, params: Params, optimizer_state, frozen: Params, optimizer) -> TrainState:
        """The state where a step wants it. A copy: a step donates its state."""

        def place(tree):
            if self.sharded:
                return jax.device_put(tree, shardings(self.mesh, tree), may_alias=False)
            if not self._mapped:
                return jax.tree.map(jnp.array, tree)
            devices = len(self.devices)
            return jax.tree.map(
                lambda x: jax.device_put(np.broadcast_to(x, (devices, *x.shape)), self._by_row),
                jax.tree.map(np.asarray, tree),
            )

        if optimizer_state is None and self._mapped:
            optimizer_state = jax.jit(optimizer.init)(params)
        params = place(params)
        if optimizer_state is None:
            return TrainState(params, optimizer.init(params), place(frozen))
        return TrainState(params, place(optimizer_state), place(frozen))

    def _step(self, config: OptimizerConfig, optimizer, state: TrainState) -> Callable:
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


def texts_of(tokenizer: Tokenizer, tokens_CxR: np.ndarray, length_C: np.ndarray) -> list[str]:
    """Decoded responses, stop tokens and padding left out."""
    return [
        tokenizer.decode(row[:length].tolist())
        for row, length in zip(tokens_CxR, length_C, strict=True)
    ]
