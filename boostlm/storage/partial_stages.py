"""Stages that SIGTERM cut short: what they had done, for the same command to continue from.

A run's config determines all that a stage makes, so a saved part is always right, whichever process
left it.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from etils import epath

from boostlm.lm.generate import Responses
from boostlm.lm.sharding import to_host
from boostlm.lm.train_step import TrainState
from boostlm.runtime.multihost import on_host0
from boostlm.storage import checkpoint, durable_files


class PartialSamples(NamedTuple):
    """The prompts that a sampling stage has finished, in one file.

    Attributes:
      path: the file.
      exists: whether there may be one.
    """

    path: epath.Path
    exists: bool = True

    def load(self, prompts: int) -> tuple[Responses | None, np.ndarray]:
        """Responses [prompts, K, ...] or None, and bool [prompts]: which of them are there."""
        saved = durable_files.load_arrays(self.path, (*Responses._fields, "done"))
        if saved is None:
            return None, np.zeros(prompts, bool)
        done = saved.pop("done")
        return Responses(**saved), done

    def save(self, responses: Responses, done: np.ndarray) -> None:
        """Saves responses; those that are not done may hold anything."""
        durable_files.save_arrays(self.path, **responses._asdict(), done=done)

    def remove(self) -> None:
        """Call this when the stage has committed and there may be a file."""
        _unlink(self.path)


class PartialTraining(NamedTuple):
    """The state of a training stage after some of its steps, as a checkpoint.

    Attributes:
      path: the checkpoint's folder.
      exists: whether there may be one.
    """

    path: epath.Path
    exists: bool = True

    def load(self, like: TrainState, steps: int) -> tuple[TrainState | None, list[Any]]:
        """The saved state as numpy arrays and the losses up to it, or None and no losses.

        Args:
          like: such a state, or its shapes.
          steps: the steps of the complete stage.
        """
        if not checkpoint.is_good(self.path):
            return None, []
        like_all = {"state": like, "loss": np.zeros(steps, np.float32), "done": 0}
        saved = checkpoint.restore(self.path, like_all)
        return to_host(saved["state"]), list(saved["loss"][: int(saved["done"])])

    def save(self, state: TrainState, losses: Sequence[Any], steps: int) -> None:
        """Saves the state after len(losses) of `steps` steps.

        If the time is too short to save it, no checkpoint is left and the stage starts again.
        """
        loss = np.zeros(steps, np.float32)
        loss[: len(losses)] = [float(x) for x in losses]
        checkpoint.save(self.path, {"state": state, "loss": loss, "done": np.int64(len(losses))})

    def remove(self) -> None:
        """Call this when the stage has committed and there may be a checkpoint."""
        checkpoint.remove(self.path)


@on_host0
def _unlink(path: epath.Path) -> None:
    path.unlink(missing_ok=True)
