"""What the run's finer measurements say: prompt by prompt, pass@k, the audit, signs of collapse."""

from dataclasses import dataclass
from typing import Any

from boostlm.report.compare import Comparison, answers_of, comparisons
from boostlm.report.run_data import RunData, is_number, mean_shares
from boostlm.report.wording import short_arm
from boostlm.statistics.audit import Checked, Rate, false_accept_rate, miss_rate, right_rate
from boostlm.statistics.paired import McNemar, mcnemar_of


@dataclass(frozen=True)
class Paired:
    """A comparison, prompt by prompt.

    Attributes:
      comparison: the same by accuracies.
      tests: McNemar's, one a seed.
    """

    comparison: Comparison
    tests: tuple[McNemar, ...]

    @property
    def first_only(self) -> int:
        """Prompts that only the first model answers, over all seeds."""
        return sum(test.first_only for test in self.tests)

    @property
    def second_only(self) -> int:
        """Prompts that only the second model answers, over all seeds."""
        return sum(test.second_only for test in self.tests)


def paired(run: RunData, c: Comparison) -> Paired | None:
    """The comparison prompt by prompt; None unless the answers of all its seeds are on disk."""
    other, then = (c.first, 0) if c.second == "start" else (c.second, c.round)
    seeds = [
        seed
        for seed in run.seeds
        if run.row(c.first, seed, c.round) is not None and run.row(other, seed, then) is not None
    ]
    first, second = answers_of(run, c.first, seeds, c.round), answers_of(run, other, seeds, then)
    if first is None or second is None:
        return None
    return Paired(c, tuple(mcnemar_of(a, b) for a, b in zip(first, second, strict=True)))


def all_paired(run: RunData) -> list[Paired]:
    """The verdict's comparisons, prompt by prompt, as far as the answers are on disk."""
    return [found for c in comparisons(run) if (found := paired(run, c)) is not None]


def pair_name(c: Comparison) -> str:
    """Such as boosting - uniform."""
    return f"{short_arm(c.first)} - {short_arm(c.second)}"


def p_words(p: float) -> str:
    """A p-value, such as 0.03 or <0.0001."""
    return "<0.0001" if p < 0.0001 else f"{p:.4f}" if p < 0.01 else f"{p:.2f}"


def mean_pass(run: RunData, arm: str, key: str, last: bool = True) -> dict[str, float]:
    """Mean over seeds of pass@k, {k: rate}, of the arm's last round or of the seed model."""
    rows = run.last_rows(arm) if last else [r for r in run.rows_of(arm) if r["round"] == 0]
    return mean_shares([row[key] for row in rows])


def pass_by_group(run: RunData, arm: str, key: str) -> dict[str, dict[str, float]]:
    """Mean over seeds of pass@k after the arm's last round, {group: {k: rate}}."""
    parts = [row[key] or {} for row in run.last_rows(arm)]
    groups = dict.fromkeys(group for part in parts for group in part)
    return {group: mean_shares([part.get(group) for part in parts]) for group in groups}


@dataclass(frozen=True)
class Audited:
    """What an arm's audits say together, over rounds and seeds.

    Attributes:
      arm: whose.
      responses: own responses checked.
      labels: labels checked.
      beta: fraction of labels that are right; None if none was checked.
      miss: the filter's miss rate.
      false_accept: its false-accept rate.
    """

    arm: str
    responses: int
    labels: int
    beta: Rate | None
    miss: Rate
    false_accept: Rate


def audited(run: RunData) -> list[Audited]:
    """One for each arm with an audit; its rounds and seeds are the strata."""
    found = []
    for arm in run.arms:
        audits = [row["audit"] for row in run.rows_of(arm) if row["audit"]]
        yes, no, labels = (strata(audits, name) for name in ("accepted", "rejected", "labels"))
        checked = sum(yes.checked) + sum(no.checked)
        if checked:
            beta = right_rate(labels) if sum(labels.checked) else None
            rates = miss_rate(yes, no), false_accept_rate(yes, no)
            found.append(Audited(arm, checked, sum(labels.checked), beta, *rates))
    return found


def strata(audits: list[dict[str, Any]], name: str) -> Checked:
    """A part of several audits, "accepted", "rejected" or "labels", with a stratum for each."""
    return Checked(*([audit[name][key] for audit in audits] for key in Checked._fields))


@dataclass(frozen=True)
class Signs:
    """An arm's signs of collapse, means over seeds; None where nothing was measured.

    Attributes:
      arm: whose.
      diversity: chance that two wrong answers to a prompt differ, of the seed model and after the
        last round.
      lost: the fraction of the prompts solved in the round before that no longer are.
      gained: the fraction of the prompts not solved then that now are.
      tail_loss: the seed model's, and that after the last round, in nats a token.
      alarms: (seed, kind, first round, last round, what was seen last), by seed and kind.
    """

    arm: str
    diversity: tuple[float | None, float | None]
    lost: float | None
    gained: float | None
    tail_loss: tuple[float | None, float | None]
    alarms: tuple[tuple[int, str, int, int, str], ...]


def signs(run: RunData) -> list[Signs]:
    """One an arm that has a row with these measurements."""
    found = []
    for arm in run.arms:
        rows, last = run.rows_of(arm), run.last_rows(arm)
        if all(row["tail_loss"] is None for row in rows):
            continue
        first = [row for row in rows if row["round"] == 0]
        churn = [row["churn"] for row in last if row["churn"]]
        total = {key: sum(c[key] for c in churn) for key in (churn[0] if churn else ())}
        wrong = [
            [(row["wrong_diversity"] or {}).get("estimate") for row in r] for r in (first, last)
        ]
        tail = [[row["tail_loss"] for row in r] for r in (first, last)]
        found.append(
            Signs(
                arm,
                (_mean(wrong[0]), _mean(wrong[1])),
                _part(total, "lost", "kept"),
                _part(total, "gained", "unsolved"),
                (_mean(tail[0]), _mean(tail[1])),
                tuple(_alarms(rows)),
            )
        )
    return found


def _mean(values: list[Any]) -> float | None:
    numbers = [v for v in values if is_number(v)]
    return sum(numbers) / len(numbers) if numbers else None


def _part(total: dict[str, int], key: str, rest: str) -> float | None:
    return total[key] / (total[key] + total[rest]) if total and total[key] + total[rest] else None


def _alarms(rows: list[dict[str, Any]]) -> list[tuple[int, str, int, int, str]]:
    """Each kind of alarm of each seed once, with the rounds from the first to the last of it."""
    found: dict[tuple[int, str], tuple[int, int, str]] = {}
    for row in rows:
        for kind, seen in (row["alarms"] or {}).items():
            since = found.get((row["seed"], kind), (row["round"],))[0]
            found[row["seed"], kind] = since, row["round"], seen
    return [(*key, *value) for key, value in sorted(found.items())]
