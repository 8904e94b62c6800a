"""The arrays of a round over prompts: split over devices while a round needs them, and on disk.

Each host holds, writes and reads those of its own prompts. While they are written or read, they are
numpy arrays of these prompts alone.
"""

from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np
from etils import epath

from boostlm.engine.prompt_shards import PromptShards
from boostlm.lm.generate import Responses
from boostlm.runtime.multihost import all_max, on_each_host
from boostlm.storage.stage_parts import Part, load_all, load_part, save_part


class Samples(NamedTuple):
    """K responses of a model to each of N prompts.

    Attributes:
      tokens_NxKxR: int32, padded on the right; split over devices, as are the next two.
      length_NxK: int32, tokens, EOS included.
      finished_NxK: bool, whether it ended before the length limit.
      logprob_NxK: float64, log-probability at temperature 1, in nats; only of this host's prompts.
    """

    tokens_NxKxR: Any
    length_NxK: Any
    finished_NxK: Any
    logprob_NxK: np.ndarray


class Verdicts(NamedTuple):
    """Verdicts on the samples of a model. A response that was cut off is neither.

    Attributes:
      correct: bool [N, K], by the exact verifier; split over devices.
      accepted: bool [N, K], by the filter; split over devices.
    """

    correct: Any
    accepted: Any


Arrays = TypeVar("Arrays", Samples, Verdicts)


def samples_of(responses: Responses) -> Samples:
    """The responses to this host's prompts, as numpy arrays."""
    tokens_NxKxR, length_NxK, finished_NxK, logprob_NxKxR = map(np.asarray, responses)
    logprob_NxK = np.sum(logprob_NxKxR, axis=-1, dtype=np.float64)
    return Samples(tokens_NxKxR, length_NxK, finished_NxK, np.asarray(logprob_NxK))


def part_of(shards: PromptShards) -> Part:
    """This host's prompts, as files name them."""
    return Part(shards.own.start, shards.own.stop, shards.prompts)


def commit(path: epath.Path, own: Arrays, shards: PromptShards) -> Arrays:
    """Saves numpy arrays of this host's prompts; returns them as they are split over devices."""
    on_each_host(lambda: save_part(path, part_of(shards), **own._asdict()), f"saving {path.name}")
    return _on_devices(own, shards)


def committed(path: epath.Path, kind: type[Arrays], shards: PromptShards) -> Arrays | None:
    """What hosts committed, perhaps another number of them, or None; every host calls this."""
    found = on_each_host(lambda: load_part(path, kind._fields, part_of(shards)))
    if any(all_max([float(found is None or not found[1].all())])):
        return None
    return _on_devices(kind(**found[0]), shards)


def load_verdicts(path: epath.Path) -> Verdicts | None:
    """The committed verdicts on all samples, as numpy arrays, or None."""
    saved = load_all(path, Verdicts._fields)
    return Verdicts(**saved) if saved else None


def _on_devices(own: Arrays, shards: PromptShards) -> Arrays:
    def put(x: np.ndarray) -> Any:
        return x if x.dtype == np.float64 else shards.put(x)

    return jax.tree.map(put, own)
