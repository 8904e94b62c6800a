"""Round states and models as checkpoints: shapes, saving, loading, and the last good one."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from etils import epath

from boostlm.config import Config
from boostlm.config_io import arm_config, arms_of
from boostlm.curation.round import RoundState, initial_state
from boostlm.engine.learner import LearnerState
from boostlm.engine.prompt_shards import PromptShards
from boostlm.errors import BoostError
from boostlm.experiment.context import Assembly, RunContext
from boostlm.lm.decoder import decoder_lm
from boostlm.lm.language_model import Params
from boostlm.lm.sharding import device_put_copy, replicated_sharding
from boostlm.lm.train_step import make_optimizer
from boostlm.storage import checkpoint
from boostlm.storage.metrics_file import MetricsFile
from boostlm.storage.run_dir import RoundId, RunDir


class SavedShapes(NamedTuple):
    """What decides the shapes of a run's checkpoints.

    Attributes:
      config: the run's config.
      prompts: number of training prompts.
      init: key -> parameters.
      shapes: like `jax.eval_shape`; the learner's says how arrays are sharded, too.
    """

    config: Config
    prompts: int
    init: Callable
    shapes: Callable = jax.eval_shape

    def learner(self, optimizer: bool) -> LearnerState:
        """Shapes and dtypes of a learner's arrays."""
        params = self.shapes(self.init, jax.random.key(0))
        state = None
        if optimizer:
            state = self.shapes(make_optimizer(self.config.train.optimizer).init, params)
        return LearnerState(params, state, jax.ShapeDtypeStruct((), np.float32))


def shapes_of(ctx: RunContext) -> SavedShapes:
    """For a run that has a learner."""
    learner = ctx.learner
    prompts = len(ctx.train_prompts.length_N)
    return SavedShapes(ctx.config, prompts, learner.model.init, learner.parallel.shapes)


def last_good(config: Config, run_dir: RunDir, metrics: MetricsFile, seed_id: RoundId) -> int:
    """The last round with a complete checkpoint and all earlier rows of metrics, or 0.

    Args:
      config: the settings.
      run_dir: of the run.
      metrics: its rows.
      seed_id: round 0 of the arm.
    """
    rounds = range(config.rounds + 1)
    missing = [r for r in rounds if seed_id._replace(round=r) not in metrics.rows]
    for round_ in range(missing[0] if missing else config.rounds, 0, -1):
        if checkpoint.is_good(run_dir.round_dir(seed_id._replace(round=round_)).checkpoint):
            return round_
    return 0


def state_after(ctx: RunContext, run_dir: RunDir, id_: RoundId, seed: LearnerState) -> RoundState:
    """The state after a round, from its checkpoint, or in round 0 the one to start from.

    Args:
      ctx: the arm's context.
      run_dir: of the run.
      id_: the round.
      seed: the seed model.
    """
    if id_.round > 0:
        state = load_state(run_dir.round_dir(id_).checkpoint, shapes_of(ctx))
    else:
        state = initial_state(seed, len(ctx.train_prompts.length_N))
    return _over_devices(state, ctx.train_shards)


def _over_devices(state: RoundState, shards: PromptShards) -> RoundState:
    """A state of all prompts, on every host, split over devices and padded."""
    own = slice(shards.own.start, shards.own.stop)
    # Counts are placed as what a round makes of them; otherwise the next one compiles their sums.
    spent, kept = (
        device_put_copy(np.int32(count), replicated_sharding(shards.mesh))
        for count in (state.labels_spent, state.labels_kept)
    )
    return state._replace(
        labels_spent=spent,
        labels_kept=kept,
        log_weight_N=shards.put(np.asarray(state.log_weight_N)[own], -np.inf),
        failures_N=shards.put(np.asarray(state.failures_N)[own]),
    )


def save_state(path: epath.Path, state: RoundState, shards: PromptShards) -> None:
    """Commits the state after a round of training, without padding."""
    as_numpy: dict[str, Any] = {
        "log_weight_N": shards.whole(state.log_weight_N),
        "failures_N": shards.whole(state.failures_N),
        "labels_spent": np.int64(state.labels_spent),
        "labels_kept": np.int64(state.labels_kept),
    }
    checkpoint.save(path, state._replace(**as_numpy))


def load_state(path: epath.Path, shapes: SavedShapes) -> RoundState:
    """The state after a round of training, of all prompts, without padding."""
    arrays = jax.eval_shape(lambda: initial_state(None, shapes.prompts))
    like = arrays._replace(
        learner=shapes.learner(optimizer=not shapes.config.train.reset_optimizer),
        labels_spent=0,
        labels_kept=0,
    )
    return checkpoint.restore(path, like)


def load_learner(run_dir: RunDir, id_: RoundId, shapes: SavedShapes) -> LearnerState:
    """The model after a round, or the seed model (round 0)."""
    path = run_dir.round_dir(id_).checkpoint
    if id_.round == 0:
        return checkpoint.restore(path, shapes.learner(optimizer=False))
    return load_state(path, shapes).learner


def run_params(run_dir: RunDir, id_: RoundId, parts: Assembly) -> Params:
    """The parameters of a model that a run saved, without a learner."""
    init = decoder_lm(parts.model, parts.tokenizer.vocab_size).init
    prompts = len(parts.prompts["train"].length_N)
    config = arm_config(parts.config, arms_of(parts.config)[id_.arm])
    return load_learner(run_dir, id_, SavedShapes(config, prompts, init)).params


def saved_round(run_dir: RunDir, seed: int, arm: str, round_: int | None) -> RoundId:
    """The given round, or the last one (None), if its checkpoint is complete.

    Raises:
      BoostError: the run has no such checkpoint; the message says which ones a run keeps.
    """
    config = run_dir.read_config()
    rounds = range(config.rounds, -1, -1) if round_ is None else (round_,)
    ids = [RoundId(seed, arm, r) for r in rounds]
    good = [i for i in ids if checkpoint.is_good(run_dir.round_dir(i).checkpoint)]
    arms = arms_of(config)
    if not good or arm not in arms:
        raise BoostError(
            f"{run_dir.name} has no checkpoint of seed {seed}, arm {arm}"
            + ("" if round_ is None else f", round {round_}")
            + f" (arms: {', '.join(arms)}; the newest {config.keep_checkpoints} rounds of "
            "each are kept, and round 0)"
        )
    return good[0]
