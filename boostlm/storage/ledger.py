"""The label ledger: every label that was bought, by whom, at what cost, and with what verdict."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field

from etils import epath

from boostlm.errors import BoostError
from boostlm.runtime.multihost import on_host0
from boostlm.storage import durable_files


@dataclass(frozen=True)
class Entry:
    """One label.

    Attributes:
      seed: repeat of the experiment.
      arm: the arm that bought it.
      round: the round of training it was bought for, from 1.
      prompt: id of the training prompt.
      sample: 0, 1, ... for repeated labels of one prompt in one round.
      source: the labeler's name.
      cost: its cost, in the config's unit.
      text: the response as it was judged and trained on; if unanswered, the part that came.
      unanswered: why the response is missing or incomplete: a reason, perhaps with a colon and
        details; "" if it is complete.
      correct: the exact verifier's verdict; never True if it is unanswered.
      accepted: the filter's verdict; never True if it is unanswered.
      kept: whether it was trained on: it is answered, it was accepted if labels are filtered, the
        tokenizer has tokens for it, and it is not longer than a response may be.
      written: what the labeler wrote, if the task brought it into another form; else "".
    """

    seed: int
    arm: str
    round: int
    prompt: int
    sample: int
    source: str
    cost: float
    text: str
    unanswered: str
    correct: bool
    accepted: bool
    kept: bool
    written: str = ""


@dataclass(frozen=True)
class Ledger:
    """One append-only file of JSON lines: the labels of one seed, arm and round.

    Attributes:
      path: the file.
      entries: {(prompt, sample): entry}.
    """

    path: epath.Path
    entries: dict[tuple[int, int], Entry] = field(default_factory=dict)

    def append(self, entries: Iterable[Entry]) -> None:
        """Records labels, the same on all hosts. They are on disk when this returns."""
        entries = list(entries)
        lines = "".join(json.dumps(asdict(e), ensure_ascii=False) + "\n" for e in entries)
        durable_files.append_durably(self.path, lines.encode())
        self.entries.update({(e.prompt, e.sample): e for e in entries})

    def close(self) -> None:
        """Leaves one file, also in a bucket, where every `append` made one of its own."""
        durable_files.join_parts(self.path)


@on_host0
def read_ledger(path: epath.Path) -> Ledger:
    """Reads a ledger if there is one; ignores a torn last line, which a kill left."""
    entries = {}
    for number, line in enumerate(durable_files.complete_lines(path), 1):
        try:
            entry = Entry(**json.loads(line))
        except (json.JSONDecodeError, TypeError, UnicodeDecodeError) as error:
            raise BoostError(
                f"{path}, line {number} is damaged ({error}). It holds labels that were paid for, "
                "so nothing was changed: repair or remove that line, then run again"
            ) from error
        entries[entry.prompt, entry.sample] = entry
    return Ledger(path, entries)
