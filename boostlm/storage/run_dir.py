"""A run directory: what lies where, whose it is, and the rows of metrics.jsonl.

config.json                         the settings; a run with others is refused
task.json                           what the prompts are; a run with others is refused
tokenizer.model                     SentencePiece
metrics.jsonl                       a line for each arm, seed and round
ledger/seed0-boosting-round00.jsonl every label bought
people/queue.jsonl, queue.csv       prompts that wait for people's answers
people/answers.jsonl                the answers that were given
stages/seed0/boosting/round01/      samples, verdicts on them, answers on the evaluated split
checkpoints/seed0/boosting/round01  the model after 1 round, and what the round needs with it
report.html, summary.png            made from the above; so is what `boostlm export` writes:
curated/seed0-boosting-round01.jsonl  what training round 1 trained on
"""

import fcntl
import hashlib
import itertools
import json
import os
import uuid
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from etils import epath

from boostlm.config import MAY_CHANGE, Config
from boostlm.config_io import differences, from_json, to_json
from boostlm.errors import BoostError
from boostlm.runtime import multihost as hosts
from boostlm.storage.durable_files import is_local, remove_leftovers, write_atomically
from boostlm.tasks.base import Task

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
        hosts.require_same("config", to_json(config))
        hosts.from_first(lambda: self._create(config))

    def _create(self, config: Config) -> None:
        if self.config_path.exists():
            old = from_json(self.config_path.read_text(), self.name)
            changed = differences(old, config)
            if all(line.startswith(MAY_CHANGE) for line in changed):
                if changed:
                    write_atomically(self.config_path, to_json(config).encode())
                return
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

    def keep_task(self, task: Task) -> None:
        """Writes down what the prompts are, and the task's notes, or checks that they are the same.

        Data, a few-shot file or a task's code that changed half way would mix two experiments.
        """
        now = _described(task)
        hosts.require_same("prompts", json.dumps(now))
        hosts.from_first(lambda: self._keep_task(now))

    def _keep_task(self, now: dict[str, Any]) -> None:
        path = self.root / "task.json"
        if not path.exists():
            write_atomically(path, (json.dumps(now, indent=2) + "\n").encode())
            return
        try:
            before = json.loads(path.read_text())
        except json.JSONDecodeError as error:
            raise BoostError(f"{path} is damaged: remove it and run again ({error})") from error
        changed = [what for what in now if before.get(what) != now[what]]
        if changed:
            raise BoostError(
                f"{self.name} was started with other prompts (see {' and '.join(changed)} in "
                f"{path}): the data, the few-shot file or the task's code has changed since. Put "
                "it back, or give the new one a --run-dir of its own"
            )

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps a second run out (local directories only); a dead process locks nothing.

        A bucket has no locks: there, it is for the user not to start a run twice at a time.

        Raises:
          BoostError: another run is at work here, the folder is not a run's, or some of several
            hosts have another folder of this name.
        """
        with ExitStack() as held:
            token = hosts.from_first(lambda: self._lock(held))
            if is_local(self.root):
                self._require_shared(token)
            yield

    def _lock(self, held: ExitStack) -> str:
        """Takes the lock until `held` is left; returns what now stands in its file."""
        self._refuse_foreign()
        if not is_local(self.root):
            return ""
        self.root.mkdir(parents=True, exist_ok=True)
        lock = held.enter_context((self.root / "lock").open("a"))
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BoostError(f"another boostlm is at work in {self.name}") from None
        remove_leftovers(self.root)
        token = uuid.uuid4().hex
        lock.truncate(0)
        lock.write(token)
        lock.flush()
        return token

    def _require_shared(self, token: str) -> None:
        """Refuses a folder that is another one on another host."""
        lock = self.root / "lock"
        if any(hosts.largest([float(not lock.exists() or lock.read_text() != token)])):
            raise BoostError(
                f"{self.name} is not the same folder on all hosts: several hosts need a --run-dir "
                "that they share, such as one in gs://"
            )

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

    @property
    def ledger_folder(self) -> epath.Path:
        return self.root / "ledger"

    @property
    def people_folder(self) -> epath.Path:
        return self.root / "people"

    def ledger_path(self, seed: int, arm: str, round_: int) -> epath.Path:
        return self.ledger_folder / f"seed{seed}-{arm}-round{round_:02d}.jsonl"

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
        self._rows: dict[tuple[int, str, int], dict[str, Any]] = hosts.from_first(self._read)

    def _read(self) -> dict[tuple[int, str, int], dict[str, Any]]:
        rows = {}
        lines = self._path.read_bytes().splitlines() if self._path.exists() else []
        for number, line in enumerate(lines, 1):
            try:
                row = json.loads(line)
                place = row["seed"], row["arm"], row["round"]
                self._order[place]
            except (ValueError, KeyError, TypeError):  # no JSON, or no row of this run
                warnings.warn(f"{self._path}, line {number} is damaged: dropped", stacklevel=2)
            else:
                rows[place] = row
        if len(rows) < len(lines):
            self._write(rows)
        return rows

    def has(self, seed: int, arm: str, round_: int) -> bool:
        """Whether there is a row."""
        return (seed, arm, round_) in self._rows

    def row(self, seed: int, arm: str, round_: int) -> dict[str, Any]:
        """A row that there is."""
        return self._rows[seed, arm, round_]

    def add(self, row: dict[str, Any]) -> None:
        """Adds a row, on disk when this returns."""
        self._rows[row["seed"], row["arm"], row["round"]] = row
        hosts.from_first(lambda: self._write(self._rows))

    def _write(self, rows: dict[tuple[int, str, int], dict[str, Any]]) -> None:
        text = "".join(json.dumps(row) + "\n" for row in self._sorted(rows))
        write_atomically(self._path, text.encode())

    @property
    def rows(self) -> list[dict[str, Any]]:
        """All rows, in order."""
        return self._sorted(self._rows)

    def _sorted(self, rows: dict[tuple[int, str, int], dict[str, Any]]) -> list[dict[str, Any]]:
        return [rows[place] for place in sorted(rows, key=self._order.__getitem__)]


def _described(task: Task) -> dict[str, Any]:
    """A task as JSON: its few-shot examples in full, its prompts by number and hash."""
    described = {"name": task.name, "few_shot": task.few_shot, "notes": list(task.notes)}
    for split, prompts in task.prompts.items():
        digest = hashlib.sha256("\0".join((*prompts.texts, *prompts.bands)).encode()).hexdigest()
        described[f"{split} prompts"] = {"number": len(prompts.texts), "sha256": digest}
    return described
