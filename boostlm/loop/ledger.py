"""The label ledger: every label that was bought, by whom, for what, and what came of it."""

import json
import warnings
from collections.abc import Iterable
from dataclasses import asdict, dataclass

from etils import epath

from boostlm.errors import BoostError
from boostlm.loop.files import append_durably, write_atomically


@dataclass(frozen=True)
class Entry:
    """One label.

    Attributes:
      seed: repeat of the experiment.
      arm: who bought it.
      round: when, 0-based.
      prompt: id of the training prompt.
      sample: 0, 1, ... for repeated labels of one prompt in one round.
      source: the labeler's name.
      cost: what it cost, in the config's unit.
      text: the response that it gave.
      correct: the exact verifier's verdict.
      accepted: the filter's verdict.
      kept: whether it was trained on: accepted, where labels are filtered, and short enough.
    """

    seed: int
    arm: str
    round: int
    prompt: int
    sample: int
    source: str
    cost: float
    text: str
    correct: bool
    accepted: bool
    kept: bool


class Ledger:
    """One append-only file of JSON lines: the labels of one seed, arm and round."""

    def __init__(self, path: epath.Path):
        """Reads what is there; a torn last line (a kill while writing) is cut off."""
        self.path = path
        self.entries: dict[tuple[int, int], Entry] = {}
        if not path.exists():
            return
        data = path.read_bytes()
        whole = data[: data.rfind(b"\n") + 1]
        if whole != data:
            warnings.warn(f"{path}: cut off a torn last line, left by a kill", stacklevel=2)
            write_atomically(path, whole)
        for number, line in enumerate(whole.splitlines(), 1):
            try:
                entry = Entry(**json.loads(line))
            except (json.JSONDecodeError, TypeError, UnicodeDecodeError) as error:
                raise BoostError(
                    f"{path}, line {number} is damaged ({error}). It holds labels that were paid "
                    "for, so nothing was changed: mend or remove that line, then run again"
                ) from error
            self.entries[entry.prompt, entry.sample] = entry

    def append(self, entries: Iterable[Entry]) -> None:
        """Records labels; they are on disk when this returns."""
        entries = list(entries)
        lines = "".join(json.dumps(asdict(e), ensure_ascii=False) + "\n" for e in entries)
        append_durably(self.path, lines.encode())
        self.entries |= {(e.prompt, e.sample): e for e in entries}
