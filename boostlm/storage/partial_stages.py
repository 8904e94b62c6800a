"""Stages that SIGTERM cut short: what they came to, which the same command goes on from.

All that a stage is made of is fixed by the run's config, so a state that lies here is always the
right one, whichever life left it.
"""

from collections.abc import Sequence

import numpy as np
from etils import epath

from boostlm.lm.generate import Responses
from boostlm.lm.sharding import to_host
from boostlm.lm.train_step import TrainState
from boostlm.storage import checkpoint
from boostlm.runtime import multihost as hosts
from boostlm.storage.stage_arrays import load_arrays, save_arrays


class UnfinishedSamples:
    """The prompts that one sampling stage was done with, in a file, if there is one."""

    def __init__(self, path: epath.Path):
        """`path`: a file of its own."""
        self._path = path

    def load(self, prompts: int) -> tuple[Responses | None, np.ndarray]:
        """Responses [prompts, K, ...], and bool [prompts]: which of them are there."""
        saved = load_arrays(self._path, (*Responses._fields, "done"))
        if saved is None:
            return None, np.zeros(prompts, bool)
        done = saved.pop("done")
        return Responses(**saved), done

    def keep(self, responses: Responses, done: np.ndarray) -> None:
        """Saves them; what is not done does not matter."""
        save_arrays(self._path, **responses._asdict(), done=done)

    def remove(self) -> None:
        """To be called when the stage has committed."""
        hosts.from_first(lambda: self._path.unlink(missing_ok=True))


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
        return to_host(kept["state"]), list(kept["loss"][: int(kept["done"])])

    def keep(self, state: TrainState, losses: Sequence, steps: int) -> None:
        """Saves the state after len(losses) of `steps` steps.

        A save that takes longer than there is time leaves no checkpoint, and the stage begins anew.
        """
        loss = np.zeros(steps, np.float32)
        loss[: len(losses)] = [float(x) for x in losses]
        kept = {"state": state, "loss": loss, "done": np.int64(len(losses))}
        checkpoint.save(self._path, kept)

    def remove(self) -> None:
        """To be called when the stage has committed."""
        checkpoint.remove(self._path)
