"""metrics.jsonl: one row for each seed, arm and round, replaced as a whole."""

import itertools
import json
import warnings
from typing import Any

from etils import epath

from boostlm.config import Config
from boostlm.config_io import arms_of
from boostlm.runtime.multihost import on_host0
from boostlm.storage import durable_files
from boostlm.storage.run_dir import RoundId, RunDir

MetricsRow = dict[str, Any]


class MetricsFile:
    """The rows of metrics.jsonl.

    Attributes:
      rows: {round: row}, in order of seed, arm and round.
    """

    def __init__(self, run_dir: RunDir, config: Config) -> None:
        """Reads the file if there is one; drops a damaged line with a warning.

        The run makes a dropped row again. Nothing is written before the next `add`.
        """
        self._path = run_dir.metrics_path
        ids = itertools.product(range(config.seeds), arms_of(config), range(config.rounds + 1))
        self._order = {RoundId(*parts): i for i, parts in enumerate(ids)}
        self.rows: dict[RoundId, MetricsRow] = self._sorted(_read(self._path, set(self._order)))

    def add(self, row: MetricsRow) -> None:
        """Adds a row. It is on disk when this returns."""
        self.rows[RoundId(row["seed"], row["arm"], row["round"])] = row
        self.rows = self._sorted(self.rows)
        durable_files.write_lines(self._path, list(map(json.dumps, self.rows.values())))

    def _sorted(self, rows: dict[RoundId, MetricsRow]) -> dict[RoundId, MetricsRow]:
        return {id_: rows[id_] for id_ in sorted(rows, key=self._order.__getitem__)}


@on_host0
def _read(path: epath.Path, known: set[RoundId]) -> dict[RoundId, MetricsRow]:
    rows = {}
    lines = durable_files.lines_of(path.read_bytes()) if path.exists() else []
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
