"""The rate of right labels: what was measured, and what the config says of it."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from boostlm.config import Config
from boostlm.config_io import arm_config, arms_of
from boostlm.report.prompt_level import strata
from boostlm.report.run_data import RunData
from boostlm.report.wording import percent
from boostlm.statistics.audit import Checked, Rate, right_rate


class RoundRate(NamedTuple):
    """The measured rate of one arm's labels in one round, over seeds.

    Attributes:
      arm: whose.
      round: the round of training they were bought for.
      checked: labels checked.
      rate: the rate, with its 95% interval.
    """

    arm: str
    round: int
    checked: int
    rate: Rate


def rates_by_round(run: RunData) -> list[RoundRate]:
    """The measured rate for each arm and round in which labels were checked."""
    found = []
    for arm in run.arms:
        rows = run.rows_of(arm)
        for round_ in sorted({row["round"] for row in rows}):
            labels = _checked([row for row in rows if row["round"] == round_])
            if labels is not None:
                found.append(RoundRate(arm, round_, sum(labels.checked), right_rate(labels)))
    return found


def measured_rate(rows: Sequence[dict[str, Any]], arm: str) -> tuple[int, Rate] | None:
    """How many of an arm's labels were checked, and the rate over all rounds and seeds; or None."""
    labels = _checked([row for row in rows if row["arm"] == arm])
    return None if labels is None else (sum(labels.checked), right_rate(labels))


def _checked(rows: Sequence[dict[str, Any]]) -> Checked | None:
    """The audited labels of some rows, or None if none was checked."""
    labels = strata([row["audit"] for row in rows if row["audit"]], "labels")
    return labels if sum(labels.checked) else None


def rate_for_theory(config: Config, rows: Sequence[dict[str, Any]]) -> dict[str, float | None]:
    """The rate of right labels that the theory takes for each arm that buys labels.

    A simulated labeler's is what it was told, and that of references is 1. A frozen model's is each
    prompt's own p (None). Any other labeler's is the measured one; an arm of which no label was
    checked is left out.
    """
    found: dict[str, float | None] = {}
    for name, arm in arms_of(config).items():
        if arm.labels == "none" or not any(row["arm"] == name for row in rows):
            continue
        label = arm_config(config, arm).label
        if label.labeler in ("simulated", "reference"):
            found[name] = label.beta if label.labeler == "simulated" else 1.0
        elif label.labeler == "frozen_model":
            found[name] = None
        elif (measured := measured_rate(rows, name)) is not None:
            found[name] = float(measured[1].estimate)
    return found


def rate_in_words(run: RunData) -> str:
    """What is known about the labels, for the page's first line."""
    label = run.config["label"]
    buying = [arm for arm in ("boosting", *run.arms) if arm in run.arms]
    known = next((m for arm in buying if (m := measured_rate(run.rows, arm)) is not None), None)
    told = f" (the simulated labeler was told {percent(label['beta'])})"
    told = told if label["labeler"] == "simulated" else ""
    if known is None:
        return f"none of them checked{told}"
    checked, (estimate, low, high) = known
    return (
        f"{percent(float(estimate))} of {checked:,} checked ones right, 95% interval "
        f"{percent(float(low))} to {percent(float(high))}{told}"
    )
