"""metrics.jsonl: one row for each seed, arm and round, replaced as a whole."""

import itertools
import json
import warnings
from typing import Any

from etils import epath

from boostlm.config import Config
from boostlm.runtime.multihost import on_host0
from boostlm.storage import durable_files
from boostlm.storage.run_dir import RoundId, RunDir

MetricsRow = dict[str, Any]


class MetricsFile:
    """The rows of metrics.jsonl, in order of seed, arm and round."""

    def __init__(self, run_dir: RunDir, config: Config) -> None:
        """Reads the file if there is one; drops a damaged line with a warning.

        The run makes a dropped row again. Nothing is written before the next `add`.
        """
        self._path = run_dir.metrics_path
        ids = itertools.product(range(config.seeds), config.arms, range(config.rounds + 1))
        self._order = {RoundId(*parts): i for i, parts in enumerate(ids)}
        self._rows: dict[RoundId, MetricsRow] = _read(self._path, set(self._order))

    def has(self, id_: RoundId) -> bool:
        """Whether there is a row of this round."""
        return id_ in self._rows

    def row(self, id_: RoundId) -> MetricsRow:
        """The row of a round that has one."""
        return self._rows[id_]

    def add(self, row: MetricsRow) -> None:
        """Adds a row. It is on disk when this returns."""
        self._rows[RoundId(row["seed"], row["arm"], row["round"])] = row
        _write(self._path, self.rows)

    @property
    def rows(self) -> list[MetricsRow]:
        """All rows, in order."""
        return [self._rows[id_] for id_ in sorted(self._rows, key=self._order.__getitem__)]


@on_host0
def _read(path: epath.Path, known: set[RoundId]) -> dict[RoundId, MetricsRow]:
    rows = {}
    lines = path.read_bytes().splitlines() if path.exists() else []
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
            id_ = RoundId(row["seed"], row["arm"], row["round"])
            if id_ not in known:
                raise ValueError
        except (ValueError, KeyError, TypeError):  # not JSON, or not a row of this run
            warnings.warn(f"{path}, line {number} is damaged: dropped", stacklevel=4)
        else:
            rows[id_] = row
    return rows


@on_host0
def _write(path: epath.Path, rows: list[MetricsRow]) -> None:
    text = "".join(json.dumps(row) + "\n" for row in rows)
    durable_files.write_atomically(path, text.encode())
