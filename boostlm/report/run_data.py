"""What a report is made of: a run's config, its rows, and the theory's prediction.

Nothing here assumes that a run is finished. An arm may have fewer rounds than another, a seed may
be missing, and a value that was not measured is null; what is absent is left out, never made up.
"""

import json
import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple, NoReturn, TypeGuard

import numpy as np

from boostlm.curation.arms import parse_arm
from boostlm.errors import BoostError

# Fractions are in [0, 1]. Those of the second group may be null: sampling was not done.
REQUIRED_FRACTIONS = ("test_accuracy",)
OPTIONAL_FRACTIONS = ("train_accuracy", "train_solved", "accepted", "distinct", "cut_off")
COUNTS = ("seed", "round", "labels_spent", "labels_kept")
BY_GROUP = ("eval_by_group", "weight_by_group")
BY_FAILURES = ("weight_by_failures", "prompts_by_failures")
# Absent from the rows of runs that older versions made, and then null.
LATER = (
    "eval_pass", "eval_pass_by_group", "train_pass", "train_pass_by_group", "tail_loss", "churn",
    "against_start", "alarms", "audit", "wrong_diversity", "train_change", "labels_unanswered",
)  # fmt: skip
ROUNDING = 1e-5  # how far float32 arithmetic may carry a fraction outside [0, 1]


class Prediction(NamedTuple):
    """An ideal learner's training accuracy in rounds 0, 1, ...

    Attributes:
      mean: over draws.
      low: lower end of its 90% band.
      high: upper end.
    """

    mean: list[float]
    low: list[float]
    high: list[float]


@dataclass(frozen=True)
class RunData:
    """A run as the report sees it.

    Attributes:
      config: the nested dict of `boostlm.config.Config`.
      rows: one dict for each arm, seed and round; round 0 is the seed model.
      predicted: seed -> arm -> training accuracy of an ideal learner that does not generalise
        between prompts. May lack seeds and arms.
      answered: (arm, seed, round) -> bool [M], the evaluated prompts that the greedy response
        answers. May lack any.
    """

    config: dict[str, Any]
    rows: tuple[dict[str, Any], ...]
    predicted: dict[int, dict[str, Prediction]]
    answered: dict[tuple[str, int, int], np.ndarray] = field(default_factory=dict)

    @cached_property
    def _row(self) -> dict[tuple[str, int, int], dict[str, Any]]:
        return {(row["arm"], row["seed"], row["round"]): row for row in self.rows}

    @cached_property
    def arms(self) -> tuple[str, ...]:
        """Arms that have rows, in the config's order."""
        found = {row["arm"] for row in self.rows}
        return (*(a for a in self._named if a in found), *sorted(found - set(self._named)))

    @cached_property
    def _named(self) -> tuple[str, ...]:
        """The arms of the config."""
        return tuple(parse_arm(text).name for text in self.config["arms"])

    @cached_property
    def seeds(self) -> tuple[int, ...]:
        """Seeds that have rows."""
        return tuple(sorted({row["seed"] for row in self.rows}))

    @cached_property
    def groups(self) -> tuple[str, ...]:
        """All groups, in one order for all pictures: that of the training prompts."""
        found = [
            row[key] or {} for key in ("weight_by_group", "eval_by_group") for row in self.rows
        ]
        return tuple(dict.fromkeys(group for of_row in found for group in of_row))

    def row(self, arm: str, seed: int, round_: int) -> dict[str, Any] | None:
        """The row of one arm, seed and round, or None."""
        return self._row.get((arm, seed, round_))

    def by_round(self, arm: str, key: str) -> dict[int, dict[int, float]]:
        """Round -> seed -> the key's value, in order, without what was not measured."""
        table: dict[int, dict[int, float]] = {}
        for (row_arm, seed, round_), row in sorted(self._row.items(), key=lambda item: item[0]):
            if row_arm == arm and is_number(row[key]):
                table.setdefault(round_, {})[seed] = float(row[key])
        return dict(sorted(table.items()))

    def last_rows(self, arm: str) -> list[dict[str, Any]]:
        """The rows of the last round that any seed of the arm reached, one a seed."""
        rows = [row for row in self.rows if row["arm"] == arm]
        last = max((row["round"] for row in rows), default=0)
        return sorted((r for r in rows if r["round"] == last), key=lambda r: r["seed"])

    def predicted_by_round(self, arm: str) -> Prediction | None:
        """The mean over seeds of the arm's prediction and of the ends of its band, or None."""
        found = [of_arm[arm] for _, of_arm in sorted(self.predicted.items()) if arm in of_arm]
        if not found:
            return None
        return Prediction(*np.mean(np.array(found, np.float64), axis=0).tolist())

    def rows_of(self, arm: str) -> list[dict[str, Any]]:
        """All rows of an arm, by seed and round."""
        return sorted(
            (r for r in self.rows if r["arm"] == arm), key=lambda r: (r["seed"], r["round"])
        )

    def progress(self) -> tuple[int, int]:
        """How many pairs of arm and seed reached the last round, and how many there will be."""
        pairs = [(a, s) for a in self._named for s in range(self.config["seeds"])]
        done = sum(self.row(a, s, self.config["rounds"]) is not None for a, s in pairs)
        return done, len(pairs)


def is_number(value: Any) -> TypeGuard[float]:
    """Whether it is a finite number (True and False are not numbers)."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def mean_shares(parts: list[dict[Any, float] | None]) -> dict[Any, float]:
    """Mean of several {key: value} over those that have the key, in the order first seen."""
    values: dict[Any, list[float]] = {}
    for part in parts:
        for key, value in (part or {}).items():
            if is_number(value):
                values.setdefault(key, []).append(float(value))
    return {key: sum(v) / len(v) for key, v in values.items()}


def parse_rows(metrics_jsonl_text: str) -> tuple[dict[str, Any], ...]:
    """Reads rows, one JSON object a line; BoostError names the first line that is not a row."""
    rows: list[dict[str, Any]] = []
    line_of: dict[tuple[str, int, int], int] = {}
    # Not splitlines(): a JSON string may hold U+2028, which does not end a line here.
    for number, line in enumerate(metrics_jsonl_text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line, parse_constant=_reject_constant)
        except ValueError as error:
            raise BoostError(f"metrics, line {number}: not JSON ({error})") from None
        wrong = _what_is_wrong(row)
        if wrong:
            raise BoostError(f"metrics, line {number}: {wrong}")
        key = (row["arm"], row["seed"], row["round"])
        if key in line_of:
            raise BoostError(
                f"metrics, line {number}: arm {key[0]}, seed {key[1]}, round {key[2]} is already "
                f"on line {line_of[key]}; delete one of the two"
            )
        line_of[key] = number
        rows.append(dict.fromkeys(LATER) | row)
    return tuple(rows)


def _reject_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number; write null")


def _what_is_wrong(row: Any) -> str:
    """Why `row` is not a row of metrics; empty if it is one. Extra keys are welcome."""
    if not isinstance(row, dict):
        return "not an object"
    fractions = (*REQUIRED_FRACTIONS, *OPTIONAL_FRACTIONS)
    keys = ("arm", *COUNTS, *fractions, *BY_GROUP, *BY_FAILURES, "train_loss", "seconds")
    missing = [key for key in keys if key not in row]
    if missing:
        return f"no {', '.join(missing)}"
    if not isinstance(row["arm"], str) or not row["arm"]:
        return f"arm: {row['arm']!r} is not a name"
    for key in COUNTS:
        if not isinstance(row[key], int) or isinstance(row[key], bool) or row[key] < 0:
            return f"{key}: {row[key]!r} is not a count"
    for key in fractions:
        if row[key] is None and key in OPTIONAL_FRACTIONS:
            continue
        if not is_number(row[key]) or not -ROUNDING <= row[key] <= 1 + ROUNDING:
            return f"{key}: {row[key]!r} is not in [0, 1]"
    for key in ("train_loss", "seconds"):
        if row[key] is not None and not is_number(row[key]):
            return f"{key}: {row[key]!r} is not a number"
    for key in (*BY_GROUP, *BY_FAILURES):
        kind = dict if key in BY_GROUP else list
        if row[key] is None:
            continue
        if not isinstance(row[key], kind):
            return f"{key}: must be {'an object' if kind is dict else 'a list'}"
        values = row[key].values() if kind is dict else row[key]
        if not all(v is None or is_number(v) for v in values):
            return f"{key}: holds something that is not a number"
    return ""
