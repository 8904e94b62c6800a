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
from boostlm.storage import checkpoint
from boostlm.storage.stage_parts import Part, load_part, part_files, save_part


class PartialSamples(NamedTuple):
    """The prompts that a sampling stage has finished; each host saves its own.

    Attributes:
      path: of the file of all prompts.
      part: the prompts of this host.
      exists: whether there may be a file.
    """

    path: epath.Path
    part: Part
    exists: bool = True

    def load(self) -> tuple[Responses | None, np.ndarray]:
        """Responses [prompts, K, ...] or None, and bool [prompts]: which of them are there."""
        saved = load_part(self.path, (*Responses._fields, "done"), self.part)
        if saved is None:
            return None, np.zeros(self.part.stop - self.part.start, bool)
        done = saved[0].pop("done")  # 0 where no file holds a prompt
        return Responses(**saved[0]), done

    def save(self, responses: Responses, done: np.ndarray) -> None:
        """Saves responses; those that are not done may hold anything."""
        save_part(self.path, self.part, **responses._asdict(), done=done)

    def remove(self) -> None:
        """Call this when the stage has committed and there may be files."""
        _remove_parts(self.path)


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
def _remove_parts(path: epath.Path) -> None:
    for file, _ in part_files(path):
        file.unlink()
