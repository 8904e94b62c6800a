"""A language model on this host's devices: sampling and training over arrays of prompts."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from boostlm.config import OptimizerConfig
from boostlm.errors import BoostError
from boostlm.functional.generate import Responses, TokenRule, generate
from boostlm.functional.language_model import LanguageModel, Params
from boostlm.functional.prng import row_keys
from boostlm.functional.train_step import (
    Batch,
    TrainState,
    jit_train_step,
    make_optimizer,
    pmap_train_step,
)
from boostlm.loop.unfinished import Unfinished
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
    ):
        """Sets up sampling and training.

        Args:
          model: its functions.
          stop_ids: tokens that end a response.
          max_new_tokens: response length limit (R).
          batch_prompts: prompts sampled at once, rounded up to fill the devices.
          devices: to use; None for all of this host's.
        """
        self.model = model
        self.stop_ids = stop_ids
        self.max_new_tokens = max_new_tokens
        self.devices = list(devices or jax.local_devices())
        self.batch_prompts = -(-batch_prompts // len(self.devices)) * len(self.devices)
        mesh = jax.make_mesh(
            (len(self.devices),), ("data",), axis_types=(AxisType.Auto,), devices=self.devices
        )
        self._by_row = NamedSharding(mesh, PartitionSpec("data"))
        self._replicated = NamedSharding(mesh, PartitionSpec())
        self._samplers: dict[tuple[TokenRule, int], Callable] = {}
        self._steps: dict[OptimizerConfig, Callable] = {}

    def init(self, key: jax.Array) -> LearnerState:
        """A fresh model."""
        return LearnerState(jax.jit(self.model.init)(key), None, np.float32(0))

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
        params = jax.device_put(params, self._replicated)
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
        unfinished: Unfinished | None = None,
    ) -> LearnerState:
        """Trains for `config.steps` steps on consecutive batches of `rows`.

        Args:
          state: parameters to go on from, and optimizer state or None.
          rows: numpy [steps * batch_size, T].
          config: the optimizer's settings.
          progress: called as (steps done, steps in all).
          unfinished: where the state is kept when SIGTERM comes, and gone on from.

        Returns:
          The new state, with its optimizer state.
        """
        devices = len(self.devices)
        if config.batch_size % devices:
            raise BoostError(
                f"batch_size {config.batch_size} does not divide over {devices} devices: "
                f"make it a multiple of {devices}"
            )
        optimizer = make_optimizer(config)
        params = jax.tree.map(jnp.array, state.params)  # the step donates its input
        optimizer_state = state.optimizer_state
        if optimizer_state is None:
            optimizer_state = optimizer.init(params)
        train_state = TrainState(params, jax.tree.map(jnp.array, optimizer_state))
        losses = []
        if unfinished is not None:
            train_state, losses = unfinished.load(train_state, config.steps)
        shape = (config.steps, config.batch_size)
        if devices > 1:
            shape = (config.steps, devices, config.batch_size // devices)
            train_state = jax.tree.map(lambda x: jnp.stack([x] * devices), train_state)
        batches = jax.tree.map(lambda x: x.reshape(*shape, x.shape[-1]), rows)
        step = self._step(config, optimizer)
        one = (lambda x: x[0]) if devices > 1 else (lambda x: x)
        for i in range(len(losses), config.steps):
            train_state, metrics = step(train_state, jax.tree.map(lambda x, i=i: x[i], batches))
            losses.append(one(metrics.loss))
            if i % 20 == 19:
                jax.block_until_ready(metrics)  # bounds the queue, and keeps progress true
                if unfinished is not None:
                    now = functools.partial(jax.tree.map, one, train_state)
                    unfinished.keep_if_asked(now, losses, config.steps)
                progress(i + 1, config.steps)
        train_state = jax.tree.map(one, train_state)
        losses = np.array([float(x) for x in losses])
        loss = np.mean(losses[-max(1, config.steps // 10) :])
        loss = np.float32(loss if np.all(np.isfinite(losses)) else np.nan)
        return LearnerState(train_state.params, train_state.optimizer_state, loss)

    def _step(self, config: OptimizerConfig, optimizer) -> Callable:
        if config not in self._steps:
            if len(self.devices) > 1:
                self._steps[config] = pmap_train_step(self.model.forward, optimizer, self.devices)
            else:
                self._steps[config] = jit_train_step(self.model.forward, optimizer)
        return self._steps[config]


def texts_of(tokenizer: Tokenizer, tokens_CxR: np.ndarray, length_C: np.ndarray) -> list[str]:
    """Decoded responses, stop tokens and padding left out."""
    return [
        tokenizer.decode(row[:length].tolist())
        for row, length in zip(tokens_CxR, length_C, strict=True)
    ]
