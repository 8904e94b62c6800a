"""A run directory: its files, its lock, and the config and task that it belongs to.

config.json                    the settings; a run with other settings is refused
task.json                      a description of the prompts; a run with other prompts is refused
tokenizer.model                SentencePiece, if the run trained it
metrics.jsonl                  one line for each seed, arm and round
people/queue.jsonl, queue.csv  prompts that wait for people's answers
people/answers.jsonl           the answers that people gave
report.html, summary.png       made from the files above and below
rounds/seed0/boosting/round01/          round 1 of training:
  ledger.jsonl                          every label that was bought for it
  checkpoint, checkpoint.manifest.json  the model after it, with the state of curation
  samples.npz, verdicts.npz             that model's samples, and the verdicts on them; with several
                                        hosts a file for each, such as samples.0-12-of-24.npz
  eval.npz                              verdicts on its answers to the evaluated split
  partial_*                             what SIGTERM left of a stage that is not finished
rounds/seed0/shared/round00/            the same of the seed model, which all arms share; arms with
                                        settings of sample or filter of their own share theirs in
                                        rounds/seed0/shared+sample.k=4/round00/
"""

import fcntl
import json
import os
import uuid
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from functools import cached_property
from typing import Any, NamedTuple

from etils import epath

from boostlm.config import MAY_CHANGE, Config
from boostlm.config_io import (
    arms_of,
    config_differences,
    from_json,
    grown,
    start_folders,
    to_json,
)
from boostlm.curation.arms import folder_of
from boostlm.errors import BoostError
from boostlm.runtime.multihost import all_max, assert_same_on_hosts, on_host0
from boostlm.storage import durable_files
from boostlm.storage.stage_parts import stage_name
from boostlm.user_code import open_path


class RoundId(NamedTuple):
    """One round of one arm in one repeat of the experiment.

    Attributes:
      seed: repeat, from 0.
      arm: its name.
      round: rounds of training, from 1; 0 is the seed model.
    """

    seed: int
    arm: str
    round: int

    def __str__(self) -> str:
        return f"seed {self.seed}, arm {self.arm}, round {self.round}"


class RoundDir(NamedTuple):
    """The files of one round; see the list above."""

    ledger: epath.Path
    checkpoint: epath.Path
    samples: epath.Path
    verdicts: epath.Path
    eval: epath.Path
    partial_samples: epath.Path
    partial_training: epath.Path


class RunDir:
    """The files of one run."""

    def __init__(self, root: str | os.PathLike[str]) -> None:
        """Only names the directory; `create` and `read_config` look at it.

        Raises:
          BoostError: a path that cannot be opened on this machine.
        """
        self.root = open_path(root)
        self.name = os.fspath(self.root)  # as the user wrote it
        self.config_path = self.root / "config.json"
        self.task_path = self.root / "task.json"
        self.tokenizer_path = self.root / "tokenizer.model"
        self.metrics_path = self.root / "metrics.jsonl"
        self.people_folder = self.root / "people"
        self.rounds_folder = self.root / "rounds"

    def round_dir(self, id_: RoundId) -> RoundDir:
        """The files of a round."""
        names = ("shared", *self._starts.get(id_.arm, ("shared", "shared")))
        if id_.round:
            names = (folder_of(id_.arm),) * 3
        of_seed = self.rounds_folder / f"seed{id_.seed}"
        model, samples, verdicts = (of_seed / name / f"round{id_.round:02d}" for name in names)
        return RoundDir(
            ledger=model / "ledger.jsonl",
            checkpoint=model / "checkpoint",
            samples=samples / "samples.npz",
            verdicts=verdicts / "verdicts.npz",
            eval=samples / "eval.npz",
            partial_samples=samples / "partial_samples.npz",
            partial_training=model / "partial_training",
        )

    @cached_property
    def _starts(self) -> dict[str, tuple[str, str]]:
        """By arm, the folders of the seed model's samples and verdicts."""
        if not self.config_path.exists():
            return {}
        config = self.read_config()
        return {name: start_folders(config, arm) for name, arm in arms_of(config).items()}

    @on_host0
    def open_round(self, id_: RoundId) -> tuple[RoundDir, frozenset[str]]:
        """The files of a round, and the fields whose file or folder exists."""
        files = self.round_dir(id_)
        found = {
            folder / stage_name(path.name.partition(durable_files.PART)[0])
            for folder in {path.parent for path in files}
            if folder.exists()
            for path in folder.iterdir()
        }
        there = (name for name, path in files._asdict().items() if path in found)
        return files, frozenset(there)

    def ledger_paths(self) -> list[epath.Path]:
        """The ledgers of all rounds so far."""
        found = self.rounds_folder.glob("seed*/*/round*/ledger.jsonl*")  # parts in a bucket as well
        return sorted({path.parent / "ledger.jsonl" for path in found})

    def create(self, config: Config) -> None:
        """Makes the directory, or checks that it belongs to the same config.

        A run may grow: more rounds, seeds and arms than it was started with are no difference.
        """
        assert_same_on_hosts("config", to_json(config))
        self._create(config)
        self.__dict__.pop("_starts", None)

    @on_host0
    def _create(self, config: Config) -> None:
        if not self.config_path.exists():
            self._refuse_foreign()
            durable_files.write_atomically(self.config_path, to_json(config).encode())
            return
        before = from_json(self.config_path.read_text(), self.name)
        changed = config_differences(grown(before, config), config)
        if not all(line.startswith(MAY_CHANGE) for line in changed):
            raise BoostError(
                f"{self.name} was started with another config:\n  "
                + "\n  ".join(changed)
                + "\nContinue with the old settings, or give the new ones their own --run-dir. "
                + "Only rounds, seeds and arms may be added"
            )
        if before != config:
            durable_files.write_atomically(self.config_path, to_json(config).encode())

    def read_config(self) -> Config:
        """The config of an existing run."""
        if not self.config_path.exists():
            raise BoostError(f"{self.name} is not a run directory: it has no config.json")
        return from_json(self.config_path.read_text(), str(self.config_path))

    def keep_task(self, description: dict[str, Any]) -> None:
        """Writes the description of a task, or checks that it is the one the run started with."""
        assert_same_on_hosts("prompts", json.dumps(description))
        self._keep_task(description)

    @on_host0
    def _keep_task(self, description: dict[str, Any]) -> None:
        if self.task_path.exists():
            self.check_task(description)
        else:
            text = json.dumps(description, indent=2) + "\n"
            durable_files.write_atomically(self.task_path, text.encode())

    @on_host0
    def check_task(self, description: dict[str, Any]) -> None:
        """Refuses a task other than the one the run started with.

        Data, a few-shot file or a task's code that changed in between would mix two experiments.
        """
        if not self.task_path.exists():
            raise BoostError(f"{self.task_path} is missing: `boostlm run` writes it again")
        try:
            before = json.loads(self.task_path.read_text())
        except json.JSONDecodeError as error:
            raise BoostError(
                f"{self.task_path} is damaged ({error}): remove it, and `boostlm run` writes it "
                "again"
            ) from error
        changed = [what for what in description if before.get(what) != description[what]]
        if changed:
            raise BoostError(
                f"{self.name} was started with other prompts (see {' and '.join(changed)} in "
                f"{self.task_path}): the data, the few-shot file or the task's code has changed. "
                "Put it back, or give the new one a --run-dir of its own"
            )

    @contextmanager
    def locked(self) -> Generator[None]:
        """Keeps a second run out of a local directory. A dead process holds no lock.

        A bucket has no locks: do not start two runs in one bucket folder at a time.

        Raises:
          BoostError: another run works in this directory, no run made it, or it is not the same
            folder on all hosts.
        """
        with ExitStack() as held:
            token = self._lock(held)
            if durable_files.is_local(self.root):
                self._require_shared(token)
            yield

    @on_host0
    def _lock(self, held: ExitStack) -> str:
        """Takes the lock until `held` is left; returns what its file now says."""
        self._refuse_foreign()
        if not durable_files.is_local(self.root):
            return ""
        self.root.mkdir(parents=True, exist_ok=True)
        lock = held.enter_context((self.root / "lock").open("a"))
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BoostError(f"another boostlm works in {self.name}") from None
        durable_files.remove_leftovers(self.root)
        token = uuid.uuid4().hex
        lock.truncate(0)
        lock.write(token)
        lock.flush()
        return token

    def _require_shared(self, token: str) -> None:
        """Refuses a path that is another folder on another host."""
        lock = self.root / "lock"
        if any(all_max([float(not lock.exists() or lock.read_text() != token)])):
            raise BoostError(
                f"{self.name} is not the same folder on all hosts: several hosts need a --run-dir "
                "that they share, such as one in gs://"
            )

    def _refuse_foreign(self) -> None:
        """Refuses a folder that no run made, before anything is written there."""
        if not self.root.exists() or self.config_path.exists():
            return
        if not self.root.is_dir():
            raise BoostError(f"{self.name} is a file: name a folder")
        # A run that was killed at once may have left these.
        mine = ("lock", f"{self.config_path.name}.")
        if not all(p.name.startswith(mine) for p in self.root.iterdir()):
            raise BoostError(f"{self.name} holds other files and no config.json: name a new folder")
