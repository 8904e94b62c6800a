"""A language model on all devices: sampling and training over arrays of prompts.

Each host samples its share of the prompts on its own devices; then all hosts get all samples. Each
host supplies its own rows of every training batch.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

from boostlm.config import OptimizerConfig
from boostlm.engine.parallel import parallel_of
from boostlm.engine.prompt_table import PromptTable
from boostlm.engine.row_widths import widths_of, widths_of_steps
from boostlm.engine.sampler import OnProgress, Sampler
from boostlm.engine.slot_layout import SampleGroups, group_pairs
from boostlm.engine.tokenizer import Tokenizer
from boostlm.lm.generate import Responses
from boostlm.lm.language_model import NO_PREFIX, LanguageModel, Params
from boostlm.lm.lora import merged
from boostlm.lm.sharding import device_mesh
from boostlm.lm.token_sampling import SamplingParams
from boostlm.lm.train_step import Batch, Step, TrainState, make_optimizer
from boostlm.numerics import AnyArray
from boostlm.runtime import preemption
from boostlm.runtime.multihost import gather_shards
from boostlm.runtime.preemption import Preempted
from boostlm.runtime.progress import Pace
from boostlm.storage.partial_stages import PartialSamples, PartialTraining


def _ignore(done: int, total: int) -> None:
    """Reports progress to nobody."""


def _do_all(n: int, do: Callable[[np.ndarray], Any]) -> Any:
    """`gather_shards` for a single host."""
    return do(np.arange(n))


class LearnerState(NamedTuple):
    """A model between rounds.

    Attributes:
      params: of the model.
      optimizer_state: to continue with; None for a new one.
      loss: float32 scalar, the mean loss over the last tenth of the last training; NaN if the loss
        of any step was not finite.
    """

    params: Params
    optimizer_state: Any
    loss: Any


class LanguageLearner:
    """Compiled sampling and training for one model on all devices."""

    def __init__(
        self,
        model: LanguageModel,
        stop_sequences: Sequence[Sequence[int]],
        max_new_tokens: int,
        batch_size: int,
        devices: Sequence[jax.Device] | None = None,
        split: bool = False,
        sampling_model: LanguageModel | None = None,
    ) -> None:
        """Sets up sampling and training; nothing is compiled yet.

        Args:
          model: its functions.
          stop_sequences: token sequences that end a response.
          max_new_tokens: response length limit (R).
          batch_size: responses decoded at once, over all devices.
          devices: the devices to use; None for those of all hosts.
          split: split parameters and optimizer state over the devices (`lm.sharding`) instead of
            keeping them on each; `model` then keeps to `device_mesh(devices)`.
          sampling_model: the same model for sampling, with all parameters on each device; None:
            `model`.
        """
        self.model = model
        self.devices = list(devices or jax.devices())
        self.mesh = device_mesh(self.devices)
        self.batch_size = batch_size
        self.parallel = parallel_of(model, self.devices, split)
        host = jax.process_index()
        here = device_mesh([d for d in self.devices if d.process_index == host])
        self._share = gather_shards if here.size < self.mesh.size else _do_all
        batch_here = max(1, batch_size * here.size // self.mesh.size)
        model = sampling_model or model
        self.sampler = Sampler(model, stop_sequences, max_new_tokens, batch_here, here)
        self._steps: dict[tuple[OptimizerConfig, bool], Step] = {}
        self._inits: dict[OptimizerConfig, Callable[[Params], Any]] = {}

    def init(self, key: jax.Array) -> LearnerState:
        """A new model."""
        shapes = self.parallel.shapes(self.model.init, key)
        at = jax.tree.map(lambda x: x.sharding, shapes)
        return LearnerState(jax.jit(self.model.init, out_shardings=at)(key), None, np.float32(0))

    def sample(
        self,
        params: Params,
        prompts: PromptTable,
        key: jax.Array,
        sampling: SamplingParams,
        k: int,
        progress: OnProgress = _ignore,
        partial: PartialSamples | None = None,
    ) -> Responses:
        """K responses to every prompt, as numpy arrays [N, K, ...].

        Response k of prompt n depends on params, the prompt, key, n and k only.

        Args:
          params: of the model.
          prompts: N prompts.
          key: of the round.
          sampling: how tokens are drawn.
          k: responses to each.
          progress: called as (prompts done, prompts in all) of this host.
          partial: where finished prompts are saved on SIGTERM, and loaded from.

        Raises:
          Preempted: SIGTERM came.
        """
        N = len(prompts.length_N)
        groups = SampleGroups(np.arange(N), np.broadcast_to(np.arange(k), (N, k)))
        return self._sample(params, prompts, groups, key, sampling, progress, partial)

    def sample_pairs(
        self,
        params: Params,
        prompts: PromptTable,
        prompt_id_L: np.ndarray,
        sample_L: np.ndarray,
        key: jax.Array,
        sampling: SamplingParams,
        progress: OnProgress = _ignore,
    ) -> Responses:
        """One response for each pair of a prompt and a sample number, as numpy arrays [L, ...].

        The response of a pair is the one that `sample` gives.
        """
        groups, (m_L, k_L) = group_pairs(prompt_id_L, sample_L)
        responses = self._sample(params, prompts, groups, key, sampling, progress)
        return jax.tree.map(lambda x: x[m_L, k_L], responses)

    def _sample(
        self,
        params: Params,
        prompts: PromptTable,
        groups: SampleGroups,
        key: jax.Array,
        sampling: SamplingParams,
        progress: OnProgress,
        partial: PartialSamples | None = None,
    ) -> Responses:
        """The responses of every group, on every host."""
        params = self.sampler.ready(params)
        M = len(groups.prompt_M)
        saved, done_M = None, np.zeros(M, bool)
        if partial and partial.exists:
            saved, done_M = partial.load(M)
        missing = np.flatnonzero(~done_M)
        if saved is not None and not missing.size:
            return saved

        def share(i: np.ndarray) -> tuple[Responses, np.ndarray]:
            mine = SampleGroups(*(x[missing[i]] for x in groups))
            stop = preemption.sigterm.is_set
            return self.sampler.sample(params, prompts, mine, key, sampling, progress, stop)

        made, done = self._share(len(missing), share)
        if saved is not None:
            for into, new in zip(saved, made, strict=True):
                into[missing] = new
            made = saved
        if not done.all():
            if partial:
                done_M[missing] = done
                partial.save(made, done_M)
            raise Preempted
        return made

    def train(
        self,
        state: LearnerState,
        rows: Batch,
        config: OptimizerConfig,
        progress: OnProgress = _ignore,
        prefix_P: np.ndarray = NO_PREFIX,
        partial: PartialTraining | None = None,
        adapters: Params | None = None,
    ) -> LearnerState:
        """Trains for `config.steps` steps on consecutive batches of `rows`.

        A batch is cut to one of a few widths, the least that holds its tokens with weight. The step
        is compiled for all of them before it first runs.

        Args:
          state: parameters to continue from, and optimizer state or None.
          rows: numpy [steps * batch_size, T].
          config: the optimizer's settings.
          progress: called as (steps done, steps in all).
          prefix_P: int32, tokens that stand before every row.
          partial: where the state is saved on SIGTERM, and loaded from.
          adapters: from `init_adapters`; if given, only they are trained, and merged at the end.

        Returns:
          The new state, with its optimizer state (None after training adapters).

        Raises:
          Preempted: SIGTERM came.
        """
        shape = self.parallel.batch_shape(config)
        optimizer = make_optimizer(config)
        begin = TrainState(state.params, state.optimizer_state, ())
        if adapters is not None:
            begin = TrainState(adapters, None, state.params)
        train_state, losses = self._begin(begin, config, optimizer, partial)
        step = self.step_of(config, optimizer, train_state)
        batches = jax.tree.map(lambda x: x.reshape(*shape, x.shape[-1]), rows)
        T = rows.weight_BxT.shape[-1]
        width_S = widths_of_steps(rows.weight_BxT.reshape(config.steps, -1, T))

        def batch_of(i: int, width: int) -> Batch:
            return self.parallel.put_batch(jax.tree.map(lambda x: x[i, ..., :width], batches))

        for width in widths_of(T):  # JAX keeps what it compiled, so that later calls do nothing
            step.lower(train_state, batch_of(0, width), prefix_P).compile()
        take = self.parallel.take
        pace = Pace(progress, config.steps)
        for i in range(len(losses), config.steps):
            train_state, metrics = step(train_state, batch_of(i, width_S[i]), prefix_P)
            losses.append(take(metrics.loss))
            if (i + 1) % pace.every == 0:
                jax.block_until_ready(metrics)  # limits the queue, so that progress is true
                if pace.report(i + 1):
                    if partial is not None:
                        partial.save(jax.tree.map(take, train_state), losses, config.steps)
                    raise Preempted
        train_state = jax.tree.map(take, train_state)
        loss_S = np.array([float(x) for x in losses])
        loss = np.mean(loss_S[-max(1, config.steps // 10) :])
        loss = np.float32(loss if np.all(np.isfinite(loss_S)) else np.nan)
        if adapters is None:
            return LearnerState(train_state.params, train_state.optimizer_state, loss)
        return LearnerState(jax.jit(merged)(train_state.variables()), None, loss)

    def _begin(
        self,
        begin: TrainState,
        config: OptimizerConfig,
        optimizer: optax.GradientTransformation,
        partial: PartialTraining | None,
    ) -> tuple[TrainState, list[Any]]:
        """The first state in the form of a step, and the losses so far.

        Args:
          begin: its optimizer state may be None, for a new one.
          config: the optimizer's settings.
          optimizer: made from them.
          partial: where a state after some of the steps may be saved.
        """
        losses: list[Any] = []
        if partial and partial.exists:
            state = begin.optimizer_state or jax.eval_shape(optimizer.init, begin.params)
            saved, losses = partial.load(begin._replace(optimizer_state=state), config.steps)
            begin = saved or begin
        put = self.parallel.put
        params = put(begin.params)
        if begin.optimizer_state is None:
            if config not in self._inits:
                self._inits[config] = self.parallel.init_optimizer(optimizer)
            optimizer_state = self._inits[config](params)
        else:
            optimizer_state = put(begin.optimizer_state)
        return TrainState(params, optimizer_state, put(begin.frozen)), losses

    def step_of(
        self, config: OptimizerConfig, optimizer: optax.GradientTransformation, state: TrainState
    ) -> Step:
        """The compiled training step for a state, or for its shapes."""
        name = config, bool(state.frozen)
        if name not in self._steps:
            self._steps[name] = self.parallel.step(optimizer, state, config.micro_batches)
        return self._steps[name]


def texts_of(tokenizer: Tokenizer, tokens_CxR: AnyArray, length_C: AnyArray) -> list[str]:
    """Decoded responses, without stop tokens and padding."""
    return [
        tokenizer.decode(row[:length].tolist())
        for row, length in zip(tokens_CxR, length_C, strict=True)
    ]
