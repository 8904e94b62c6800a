"""Round states and seed models as checkpoints: shapes, saving, and the last good one."""

import jax
import numpy as np
from etils import epath

from boostlm.curation.round import RoundState, initial_state
from boostlm.lm.train_step import make_optimizer
from boostlm.storage import checkpoint
from boostlm.engine.learner import LearnerState
from boostlm.storage.run_dir import Metrics, RunDir
from boostlm.experiment.stages import Place
from boostlm.experiment.context import Workbench


def last_good(
    bench: Workbench, run_dir: RunDir, metrics: Metrics, place: Place, seed_model: LearnerState
) -> tuple[int, RoundState]:
    """The last round whose checkpoint is whole and whose earlier rows of metrics are all there."""
    prompts = len(bench.train_prompts.length_N)
    missing = [
        r for r in range(bench.config.rounds + 1) if not metrics.has(place.seed, place.arm, r)
    ]
    for round_ in range(missing[0] if missing else bench.config.rounds, 0, -1):
        path = run_dir.checkpoint_path(place.seed, place.arm, round_)
        if checkpoint.is_good(path):
            return round_, load_state(bench, path)
    return 0, initial_state(seed_model, prompts)


def save_state(path: epath.Path, state: RoundState) -> None:
    """Commits the state after a round of training."""
    counts = {"labels_spent": state.labels_spent, "labels_kept": state.labels_kept}
    checkpoint.save(path, state._replace(**{k: np.int64(v) for k, v in counts.items()}))


def load_state(bench: Workbench, path: epath.Path) -> RoundState:
    """The state after a round of training."""
    arrays = jax.eval_shape(lambda: initial_state(None, len(bench.train_prompts.length_N)))
    like = arrays._replace(
        learner=_like(bench, optimizer=not bench.config.train.reset_optimizer),
        labels_spent=0,
        labels_kept=0,
    )
    return checkpoint.restore(path, like)


def load_learner(
    bench: Workbench, run_dir: RunDir, seed: int, arm: str, round_: int
) -> LearnerState:
    """The model after a round, or the seed model (round 0)."""
    path = run_dir.checkpoint_path(seed, arm, round_)
    if round_ == 0:
        return checkpoint.restore(path, _like(bench, optimizer=False))
    return load_state(bench, path).learner


def _like(bench: Workbench, optimizer: bool) -> LearnerState:
    """Shapes and dtypes of a learner's arrays."""
    params = bench.learner.shapes(bench.learner.model.init, jax.random.key(0))
    state = None
    if optimizer:
        state = bench.learner.shapes(make_optimizer(bench.config.train.optimizer).init, params)
    return LearnerState(params, state, jax.ShapeDtypeStruct((), np.float32))
