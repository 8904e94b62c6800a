"""Round states and models as checkpoints: shapes, saving, loading, and the last good one."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from etils import epath

from boostlm.config import Config
from boostlm.curation.round import RoundState, initial_state
from boostlm.engine.learner import LearnerState
from boostlm.errors import BoostError
from boostlm.experiment.context import Assembly, RunContext
from boostlm.lm.decoder import decoder_lm
from boostlm.lm.language_model import Params
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


def last_good(
    ctx: RunContext, run_dir: RunDir, metrics: MetricsFile, seed_id: RoundId, seed: LearnerState
) -> tuple[int, RoundState]:
    """The last round with a complete checkpoint and all earlier rows of metrics, and its state.

    Args:
      ctx: the run's context.
      run_dir: the run's directory.
      metrics: its rows.
      seed_id: round 0 of the arm.
      seed: the seed model.
    """
    rounds = range(ctx.config.rounds + 1)
    missing = [r for r in rounds if seed_id._replace(round=r) not in metrics.rows]
    for round_ in range(missing[0] if missing else ctx.config.rounds, 0, -1):
        path = run_dir.round_dir(seed_id._replace(round=round_)).checkpoint
        if checkpoint.is_good(path):
            return round_, load_state(path, shapes_of(ctx))
    return 0, initial_state(seed, len(ctx.train_prompts.length_N))


def save_state(path: epath.Path, state: RoundState) -> None:
    """Commits the state after a round of training."""
    counts = {"labels_spent": state.labels_spent, "labels_kept": state.labels_kept}
    as_arrays: dict[str, Any] = {k: np.int64(v) for k, v in counts.items()}
    checkpoint.save(path, state._replace(**as_arrays))


def load_state(path: epath.Path, shapes: SavedShapes) -> RoundState:
    """The state after a round of training."""
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
    return load_learner(run_dir, id_, SavedShapes(parts.config, prompts, init)).params


def saved_round(run_dir: RunDir, seed: int, arm: str, round_: int | None) -> RoundId:
    """The given round, or the last one (None), if its checkpoint is complete.

    Raises:
      BoostError: the run has no such checkpoint; the message says which ones a run keeps.
    """
    config = run_dir.read_config()
    rounds = range(config.rounds, -1, -1) if round_ is None else (round_,)
    ids = [RoundId(seed, arm, r) for r in rounds]
    good = [i for i in ids if checkpoint.is_good(run_dir.round_dir(i).checkpoint)]
    if not good or arm not in config.arms:
        raise BoostError(
            f"{run_dir.name} has no checkpoint of seed {seed}, arm {arm}"
            + ("" if round_ is None else f", round {round_}")
            + f" (arms: {', '.join(config.arms)}; the newest {config.keep_checkpoints} rounds of "
            "each are kept, and round 0)"
        )
    return good[0]
