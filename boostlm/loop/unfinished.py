"""Training that SIGTERM cut short: its state after some steps, which the same command goes on from.

All that a stage is made of is fixed by the run's config, so a state that lies here is always the
right one, whichever life left it.
"""

from collections.abc import Callable, Sequence

import jax
import numpy as np
from etils import epath

from boostlm.functional.train_step import TrainState
from boostlm.loop import checkpoint, preemption


class Unfinished:
    """The state of one training stage at a path, if there is one."""

    def __init__(self, path: epath.Path):
        """`path`: a checkpoint folder of its own."""
        self._path = path

    def load(self, like: TrainState, steps: int) -> tuple[TrainState | None, list]:
        """The state that was kept, as numpy arrays, and the losses up to it; else None and none.

        Args:
          like: such a state, or its shapes.
          steps: of the whole stage.
        """
        if not checkpoint.is_good(self._path):
            return None, []
        like = {"state": like, "loss": np.zeros(steps, np.float32), "done": 0}
        kept = checkpoint.restore(self._path, like)
        return jax.tree.map(np.asarray, kept["state"]), list(kept["loss"][: int(kept["done"])])

    def keep_if_asked(self, state: Callable[[], TrainState], losses: Sequence, steps: int) -> None:
        """Saves the state after len(losses) of `steps` steps if SIGTERM came, else does nothing.

        A save that takes longer than there is time leaves no checkpoint, and the stage begins anew.
        """
        if not preemption.asked():
            return
        loss = np.zeros(steps, np.float32)
        loss[: len(losses)] = [float(x) for x in losses]
        kept = {"state": state(), "loss": loss, "done": np.int64(len(losses))}
        checkpoint.save(self._path, kept)

    def remove(self) -> None:
        """To be called when the stage has committed."""
        checkpoint.remove(self._path)
