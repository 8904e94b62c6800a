"""A language model on this host's devices: sampling and training over arrays of prompts."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from boostlm.config import OptimizerConfig
from boostlm.errors import BoostError
from boostlm.functional.generate import Responses
from boostlm.functional.language_model import NO_PREFIX, LanguageModel, Params
from boostlm.functional.token_rule import TokenRule
from boostlm.functional.train_step import (
    Batch,
    TrainState,
    jit_train_step,
    make_optimizer,
    pmap_train_step,
)
from boostlm.loop.prompts import PromptTable
from boostlm.loop.sampler import Groups, Progress, Sampler, group_pairs
from boostlm.loop.unfinished import Unfinished
from boostlm.tasks.tokenizer import Tokenizer


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
    """Compiled sampling and training for one model, spread over all local devices."""

    def __init__(
        self,
        model: LanguageModel,
        endings: Sequence[Sequence[int]],
        max_new_tokens: int,
        rows: int,
        devices: Sequence[jax.Device] | None = None,
    ):
        """Sets up sampling and training.

        Args:
          model: its functions.
          endings: token sequences that end a response.
          max_new_tokens: response length limit (R).
          rows: responses decoded at once, over all devices.
          devices: to use; None for all of this host's.
        """
        self.model = model
        self.devices = list(devices or jax.local_devices())
        self.sampler = Sampler(model, endings, max_new_tokens, rows, self.devices)
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
        progress: Progress = lambda done, total: None,
    ) -> Responses:
        """K responses to every prompt, as numpy arrays [N, K, ...].

        Response k of prompt n depends on params, the prompt, key, n and k only.
        """
        N = len(prompts.length_N)
        groups = Groups(np.arange(N), np.broadcast_to(np.arange(k), (N, k)))
        return self.sampler.sample(params, prompts, groups, key, rule, progress)

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
        responses = self.sampler.sample(params, prompts, groups, key, rule, progress)
        return jax.tree.map(lambda x: x[m_L, k_L], responses)

    def train(
        self,
        state: LearnerState,
        rows: Batch,
        config: OptimizerConfig,
        progress: Callable[[int, int], None] = lambda done, total: None,
        prefix_P: np.ndarray = NO_PREFIX,
        unfinished: Unfinished | None = None,
    ) -> LearnerState:
        """Trains for `config.steps` steps on consecutive batches of `rows`.

        Args:
          state: parameters to go on from, and optimizer state or None.
          rows: numpy [steps * batch_size, T].
          config: the optimizer's settings.
          progress: called as (steps done, steps in all).
          prefix_P: int32, tokens that stand before every row.
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
            batch = jax.tree.map(lambda x, i=i: x[i], batches)
            train_state, metrics = step(train_state, batch, prefix_P)
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
                self._steps[config] = pmap_train_step(self.model, optimizer, self.devices)
            else:
                self._steps[config] = jit_train_step(self.model, optimizer)
        return self._steps[config]


def texts_of(tokenizer: Tokenizer, tokens_CxR: np.ndarray, length_C: np.ndarray) -> list[str]:
    """Decoded responses, stop tokens and padding left out."""
    return [
        tokenizer.decode(row[:length].tolist())
        for row, length in zip(tokens_CxR, length_C, strict=True)
    ]
