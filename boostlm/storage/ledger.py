"""The label ledger: every label that was bought, by whom, for what, and what came of it."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass

from etils import epath

from boostlm.errors import BoostError
from boostlm.runtime import multihost as hosts
from boostlm.storage.durable_files import append_durably, whole_lines


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
      finished: False if a limit on length cut it off.
      correct: the exact verifier's verdict; never True of what was cut off.
      accepted: the filter's verdict.
      kept: whether it was trained on: finished, accepted where labels are filtered, and fit for
        the tokenizer and its limit on length.
    """

    seed: int
    arm: str
    round: int
    prompt: int
    sample: int
    source: str
    cost: float
    text: str
    finished: bool
    correct: bool
    accepted: bool
    kept: bool


class Ledger:
    """One append-only file of JSON lines: the labels of one seed, arm and round."""

    def __init__(self, path: epath.Path):
        """Reads what is there; a torn last line (a kill while writing) is cut off."""
        self.path = path
        self.entries: dict[tuple[int, int], Entry] = hosts.from_first(self._read)

    def _read(self) -> dict[tuple[int, int], Entry]:
        entries = {}
        for number, line in enumerate(whole_lines(self.path), 1):
            try:
                entry = Entry(**json.loads(line))
            except (json.JSONDecodeError, TypeError, UnicodeDecodeError) as error:
                raise BoostError(
                    f"{self.path}, line {number} is damaged ({error}). It holds labels that were "
                    "paid for, so nothing was changed: mend or remove that line, then run again"
                ) from error
            entries[entry.prompt, entry.sample] = entry
        return entries

    def append(self, entries: Iterable[Entry]) -> None:
        """Records labels, the same on all hosts; they are on disk when this returns."""
        entries = list(entries)
        lines = "".join(json.dumps(asdict(e), ensure_ascii=False) + "\n" for e in entries)
        hosts.from_first(lambda: append_durably(self.path, lines.encode()))
        self.entries |= {(e.prompt, e.sample): e for e in entries}


def spent(folder: epath.Path) -> float:
    """What all labels in a folder of ledgers cost, in the config's unit."""
    if not folder.exists():
        return 0.0
    ledgers = [Ledger(path) for path in sorted(folder.glob("*.jsonl"))]
    return sum(entry.cost for ledger in ledgers for entry in ledger.entries.values())
