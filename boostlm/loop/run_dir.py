"""A run directory: what lies where, whose it is, and the rows of metrics.jsonl.

config.json                         the settings; a run with others is refused
tokenizer.model                     SentencePiece
metrics.jsonl                       a line for each arm, seed and round
ledger/seed0-boosting-round00.jsonl every label bought
stages/seed0/boosting/round00/      samples and verdicts, by stage
checkpoints/seed0/boosting/round01  the model after 1 round, and what the round needs with it
report.html, summary.png            made from the above
"""

import fcntl
import itertools
import json
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from etils import epath

from boostlm.config import Config
from boostlm.config_io import differences, from_json, to_json
from boostlm.errors import BoostError
from boostlm.loop.files import is_local, remove_leftovers, write_atomically

SHARED = "shared"  # stands in for the arm in what all arms share: the seed model, round 0's samples


class RunDir:
    """Paths and metrics of one run."""

    def __init__(self, root: str | os.PathLike):
        """Only names the directory; `create` and `read_config` look at it.

        Raises:
          BoostError: no path that can be opened here.
        """
        try:
            self.root = epath.Path(root)
        except KeyError:
            raise BoostError(f"{root} cannot be opened: name a folder, or one in gs://") from None
        try:
            is_local(self.root) or self.root.exists()
        except ImportError as error:
            raise BoostError(
                f"{root} cannot be opened ({error}): pip install gcsfs, or install boostlm[tpu]"
            ) from error

    def create(self, config: Config) -> None:
        """Makes the directory, or checks that it belongs to the same config."""
        if self.config_path.exists():
            changed = differences(from_json(self.config_path.read_text(), self.name), config)
            if changed:
                raise BoostError(
                    f"{self.name} was started with another config:\n  "
                    + "\n  ".join(changed)
                    + "\nGo on with the old settings, or give the new ones a --run-dir of their own"
                )
            return
        self._refuse_foreign()
        write_atomically(self.config_path, to_json(config).encode())

    def read_config(self) -> Config:
        """The config of an existing run."""
        if not self.config_path.exists():
            raise BoostError(f"{self.name} is no run directory: it has no config.json")
        return from_json(self.config_path.read_text(), str(self.config_path))

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps a second process out (local directories only); a dead process locks nothing.

        A bucket has no locks: there, it is for the user not to start a run twice at a time.
        """
        self._refuse_foreign()
        if not is_local(self.root):
            yield
            return
        self.root.mkdir(parents=True, exist_ok=True)
        with open(self.root / "lock", "w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise BoostError(f"another boostlm is at work in {self.name}") from None
            remove_leftovers(self.root)
            yield

    def _refuse_foreign(self) -> None:
        """Keeps out of folders that no run made, before anything is written there."""
        if not self.root.exists() or self.config_path.exists():
            return
        if not self.root.is_dir():
            raise BoostError(f"{self.name} is a file: name a folder")
        # What a run that was killed at once may have left.
        mine = ("lock", f"{self.config_path.name}.")
        if not all(p.name.startswith(mine) for p in self.root.iterdir()):
            raise BoostError(f"{self.name} holds other files and no config.json: name a new folder")

    @property
    def name(self) -> str:
        """The directory as the user wrote it."""
        return os.fspath(self.root)

    @property
    def config_path(self) -> epath.Path:
        return self.root / "config.json"

    @property
    def tokenizer_path(self) -> epath.Path:
        return self.root / "tokenizer.model"

    @property
    def metrics_path(self) -> epath.Path:
        return self.root / "metrics.jsonl"

    def ledger_path(self, seed: int, arm: str, round_: int) -> epath.Path:
        return self.root / "ledger" / f"seed{seed}-{arm}-round{round_:02d}.jsonl"

    def stage_path(self, seed: int, arm: str, round_: int, stage: str) -> epath.Path:
        """Where a stage's arrays lie. Round 0 starts from the seed model, alike for every arm."""
        arm = SHARED if round_ == 0 else arm
        return self.root / "stages" / f"seed{seed}" / arm / f"round{round_:02d}" / f"{stage}.npz"

    def checkpoint_path(self, seed: int, arm: str, round_: int) -> epath.Path:
        arm = SHARED if round_ == 0 else arm
        return self.root / "checkpoints" / f"seed{seed}" / arm / f"round{round_:02d}"

    def unfinished_path(self, seed: int, arm: str, round_: int) -> epath.Path:
        """Where the training that `checkpoint_path` will hold the end of is kept on SIGTERM."""
        path = self.checkpoint_path(seed, arm, round_)
        return path.parent / f"{path.name}-unfinished"


class Metrics:
    """The rows of metrics.jsonl, kept in order of seed, arm and round, replaced as a whole."""

    def __init__(self, run_dir: RunDir, config: Config):
        """Reads what is there; a damaged line is dropped with a warning, and made anew."""
        self._path = run_dir.metrics_path
        places = itertools.product(range(config.seeds), config.arms, range(config.rounds + 1))
        self._order = {place: i for i, place in enumerate(places)}
        self._rows: dict[tuple[int, str, int], dict[str, Any]] = {}
        if not self._path.exists():
            return
        lines = self._path.read_bytes().splitlines()
        for number, line in enumerate(lines, 1):
            try:
                row = json.loads(line)
                place = row["seed"], row["arm"], row["round"]
                self._order[place]
            except (ValueError, KeyError, TypeError):  # no JSON, or no row of this run
                warnings.warn(f"{self._path}, line {number} is damaged: dropped", stacklevel=2)
            else:
                self._rows[place] = row
        if len(self._rows) < len(lines):
            self._write()

    def has(self, seed: int, arm: str, round_: int) -> bool:
        """Whether there is a row."""
        return (seed, arm, round_) in self._rows

    def add(self, row: dict[str, Any]) -> None:
        """Adds a row, on disk when this returns."""
        self._rows[row["seed"], row["arm"], row["round"]] = row
        self._write()

    def _write(self) -> None:
        text = "".join(json.dumps(row) + "\n" for row in self.rows)
        write_atomically(self._path, text.encode())

    @property
    def rows(self) -> list[dict[str, Any]]:
        """All rows, in order."""
        return [self._rows[place] for place in sorted(self._rows, key=self._order.__getitem__)]
