"""A language model on all devices: sampling and training over arrays of prompts.

Each host samples its own prompts on its own devices, or together with the hosts that hold the rest
of its model. Each step's rows are taken on the devices.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
from jax.sharding import Mesh

from boostlm.config import OptimizerConfig
from boostlm.engine.parallel import parallel_of
from boostlm.engine.prompt_shards import PromptShards, by_host, split_prompts
from boostlm.engine.prompt_table import PromptTable
from boostlm.engine.row_widths import cut_rows, widths_of
from boostlm.engine.sampler import OnProgress, Sampler
from boostlm.engine.slot_layout import Layout, SampleGroups, group_pairs, layout_of_pairs
from boostlm.engine.tokenizer import Tokenizer
from boostlm.engine.training_rows import TrainingRows
from boostlm.lm.generate import Responses
from boostlm.lm.language_model import NO_PREFIX, LanguageModel, Params
from boostlm.lm.lora import merged
from boostlm.lm.sharding import device_mesh, rows_of_host
from boostlm.lm.token_sampling import SamplingParams
from boostlm.lm.train_step import Step, TrainState, make_optimizer
from boostlm.numerics import AnyArray
from boostlm.runtime import preemption
from boostlm.runtime.multihost import all_max, gather_blocks, gather_shards, on_each_host
from boostlm.runtime.preemption import Preempted
from boostlm.runtime.progress import Pace
from boostlm.storage.partial_stages import PartialSamples, PartialTraining


def _ignore(done: int, total: int) -> None:
    """Reports progress to nobody."""


class LearnerState(NamedTuple):
    """A model between rounds.

    Attributes:
      params: the model's parameters.
      optimizer_state: the state to continue with; None for a new one.
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
        mesh: Mesh | None = None,
    ) -> None:
        """Sets up sampling and training; nothing is compiled yet.

        Args:
          model: its functions.
          stop_sequences: token sequences that end a response.
          max_new_tokens: response length limit (R).
          batch_size: responses decoded at once, over all devices.
          devices: the devices to use, each of which holds the model; None for those of all hosts.
          mesh: devices to use that share the model instead (`lm.sharding`); `model` keeps to it.
        """
        self.model = model
        self.devices = by_host(list(mesh.devices.flat) if mesh else devices or jax.devices())
        self.mesh = mesh or device_mesh(self.devices)
        self.batch_size = batch_size
        self.parallel = parallel_of(model, self.devices, mesh)
        here = rows_of_host(self.mesh)
        self._team = sorted(
            {d.process_index for d in here.devices.flat}
        )  # hosts that share a model
        batch_here = max(1, batch_size * here.size // self.mesh.size)
        self.sampler = Sampler(model, stop_sequences, max_new_tokens, batch_here, here)
        self._steps: dict[tuple[OptimizerConfig, bool], Step] = {}
        self._inits: dict[OptimizerConfig, Callable[[Params], Any]] = {}

    def init(self, key: jax.Array) -> LearnerState:
        """A new model."""
        shapes = self.parallel.shapes(self.model.init, key)
        at = jax.tree.map(lambda x: x.sharding, shapes)
        return LearnerState(jax.jit(self.model.init, out_shardings=at)(key), None, np.float32(0))

    def shards(self, prompts: int) -> PromptShards:
        """How so many prompts are split over the devices."""
        return split_prompts(self.devices, prompts)

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
        """K responses to each prompt of this host, as numpy arrays [N, K, ...].

        Response k of prompt n depends on params, the prompt, key, n and k only.

        Args:
          params: of the model.
          prompts: of all hosts.
          key: of the round.
          sampling: how tokens are drawn.
          k: responses to each.
          progress: called as (prompts done, prompts in all) of this host.
          partial: where finished prompts are saved on SIGTERM, and loaded from.

        Raises:
          Preempted: SIGTERM came to any host.
        """
        params = self.sampler.ready(params)
        shards = self.shards(len(prompts.length_N))
        own, saved = np.array(shards.own), partial and partial.exists

        def load() -> tuple[Responses | None, np.ndarray]:
            return partial.load() if partial and saved else (None, np.zeros(len(own), bool))

        made, done_N = on_each_host(load, "its saved samples")
        missing = np.flatnonzero(~done_N)
        wanted = own[missing]
        if len(self._team) > 1:  # which sample all of their prompts in step
            wanted = np.concatenate([shards.of_host(host) for host in self._team])
            wanted = np.intersect1d(wanted, gather_blocks(lambda: own[missing]))

        def share() -> tuple[Responses, np.ndarray]:
            if made is not None and not wanted.size:
                return made, done_N
            groups = SampleGroups(wanted, np.broadcast_to(np.arange(k), (len(wanted), k)))
            new, done = self._sample(params, prompts, groups, key, sampling, progress)
            mine = np.isin(wanted, own)
            new, done_N[missing] = jax.tree.map(lambda x: x[mine], new), done[mine]
            if made is None:
                return new, done_N
            for into, rows in zip(made, new, strict=True):
                into[missing] = rows
            return made, done_N

        made, done_N = on_each_host(share, "its prompts")
        if any(all_max([float(not done_N.all())])):
            if partial:
                on_each_host(lambda: partial.save(made, done_N))
            raise Preempted
        return made

    def sample_pairs(
        self,
        params: Params,
        prompts: PromptTable,
        prompt_id_L: np.ndarray,
        sample_L: np.ndarray,
        key: jax.Array,
        sampling: SamplingParams,
        most: int,
    ) -> Responses:
        """One response for each pair of a prompt and a sample number, as numpy arrays [L, ...].

        The response of a pair is the one that `sample` gives. Every host gets all of them.

        Args:
          params: of the model.
          prompts: of all hosts.
          prompt_id_L: int32.
          sample_L: int32, sample numbers.
          key: of the round.
          sampling: how tokens are drawn.
          most: pairs that are asked for at once; calls with the same number share a program.

        Raises:
          Preempted: SIGTERM came to any host.
        """
        params = self.sampler.ready(params)
        groups, (m_L, k_L) = group_pairs(prompt_id_L, sample_L)
        rows = min(self.sampler.batch_size, most)
        layout = layout_of_pairs(rows, self.sampler.devices)

        def share(i: np.ndarray) -> tuple[Responses, np.ndarray]:
            mine = SampleGroups(*(x[i] for x in groups))
            return self._sample(params, prompts, mine, key, sampling, _ignore, layout)

        M, team = len(groups.prompt_M), len(self._team)
        responses, done_M = gather_shards(M, share, team_hosts=team)
        if not done_M.all():
            raise Preempted
        return jax.tree.map(lambda x: x[m_L, k_L], responses)

    def _sample(
        self,
        params: Params,
        prompts: PromptTable,
        groups: SampleGroups,
        key: jax.Array,
        sampling: SamplingParams,
        progress: OnProgress,
        layout: Layout | None = None,
    ) -> tuple[Responses, np.ndarray]:
        """The responses of some groups, on this host, and which are done, bool [M]."""
        stop = preemption.sigterm.is_set
        return self.sampler.sample(params, prompts, groups, key, sampling, progress, stop, layout)

    def train(
        self,
        state: LearnerState,
        rows: TrainingRows,
        config: OptimizerConfig,
        progress: OnProgress = _ignore,
        prefix_P: np.ndarray = NO_PREFIX,
        partial: PartialTraining | None = None,
        adapters: Params | None = None,
    ) -> LearnerState:
        """Trains for `config.steps` steps on consecutive batches of `rows`.

        A batch is cut to one of a few widths, the least that holds its rows. The step is
        compiled for all of them before it first runs.

        Args:
          state: parameters to continue from, and optimizer state or None.
          rows: C = steps * batch_size rows, the same on all hosts.
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
        self.parallel.batch_shape(config)  # refuses batches that do not divide
        optimizer = make_optimizer(config)
        begin = TrainState(state.params, state.optimizer_state, ())
        if adapters is not None:
            begin = TrainState(adapters, None, state.params)
        train_state, losses = self._begin(begin, config, optimizer, partial)
        step = self.step_of(config, optimizer, train_state)
        rows_SxB = np.arange(config.steps * config.batch_size).reshape(config.steps, -1)
        first, put = rows.take(rows_SxB[0]), self.parallel.put_batch
        widths = np.array(widths_of(first.tokens_BxT.shape[1]))
        width_S = widths[np.searchsorted(widths, rows.length_C[rows_SxB].max(axis=1))]
        for width in widths:  # JAX keeps what it compiled, so that later calls do nothing
            step.lower(train_state, put(cut_rows(first, width)), prefix_P).compile()
        take = self.parallel.take
        pace = Pace(progress, config.steps)
        for i in range(len(losses), config.steps):
            batch = put(cut_rows(rows.take(rows_SxB[i]), width_S[i]))
            train_state, metrics = step(train_state, batch, prefix_P)
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
        at = jax.tree.map(lambda x: x.sharding, train_state.frozen)
        params = jax.jit(merged, out_shardings=at)(train_state.variables())
        return LearnerState(params, None, loss)

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
