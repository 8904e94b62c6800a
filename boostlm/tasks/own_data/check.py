"""Examines a data file before a run: what would stop the run, and what would spoil its result."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from boostlm.config import SPLITS, DataConfig
from boostlm.errors import BoostError
from boostlm.tasks.contamination import NgramIndex
from boostlm.tasks.own_data.files import SourceRow, read_splits
from boostlm.tasks.own_data.splits import near_duplicates
from boostlm.tasks.own_data.task import OwnProblem, problem_of, problems_by_split
from boostlm.verifiers.base import UnusableReference, Verifier
from boostlm.verifiers.registry import verifier_of


class Finding(NamedTuple):
    """Something wrong with a row.

    Attributes:
      kind: of the finding; the report counts them.
      where: file and line.
      said: about this row.
      stops: whether a run would refuse the row.
    """

    kind: str
    where: str
    said: str
    stops: bool


class DataReport(NamedTuple):
    """What an examination found.

    Attributes:
      rows: in all files.
      splits: problems of each of SPLITS.
      groups: problems of each group, largest first.
      lengths: of prompts and of right responses: (median, 99th percentile, largest).
      findings: worst first.
    """

    rows: int
    splits: dict[str, int]
    groups: dict[str, int]
    lengths: dict[str, tuple[int, int, int]]
    findings: list[Finding]


def examine(data: DataConfig, length_of: Callable[[str], int]) -> DataReport:
    """Reads the rows of `data.path`, and looks at each.

    Args:
      data: path, fields, template and verifier; its numbers of prompts are not used.
      length_of: the length of a text, in tokens or another unit.

    Raises:
      BoostError: the file cannot be read at all, or no row can be used.
    """
    verifier = verifier_of(data.verifier)
    source = read_splits(data.path)
    good: dict[str, list[SourceRow]] = {split: [] for split in source}
    problems: list[OwnProblem] = []
    places: list[str] = []
    findings: list[Finding] = []
    for split, rows in source.items():
        for row in rows:
            try:
                problem = problem_of(row, data, verifier)
            except UnusableReference as error:
                findings.append(Finding("cannot be used", row.where, str(error), True))
                continue
            good[split].append(row)
            problems.append(problem)
            places.append(row.where)
    if not problems:
        first = findings[0]
        raise BoostError(
            f"data.path: none of the {len(findings)} rows can be used; {first.where}: {first.said}"
        )
    right = [_right(verifier, problem) for problem in problems]
    findings += _not_accepted(verifier, problems, right, places)
    findings += _repeated(problems, places)
    splits = problems_by_split(good, data, verifier)
    findings += _contaminated(splits, dict(zip((p.problem for p in problems), places, strict=True)))
    answers = [text for text in right if text is not None]
    return DataReport(
        rows=sum(map(len, source.values())),
        splits={split: len(splits[split]) for split in SPLITS},
        groups=dict(Counter(p.group for p in problems).most_common()),
        lengths={
            name: _lengths([length_of(text) for text in texts])
            for name, texts in (("prompts", [p.prompt for p in problems]), ("answers", answers))
            if texts
        },
        findings=sorted(findings, key=lambda finding: not finding.stops),
    )


def _right(verifier: Verifier, problem: OwnProblem) -> str | None:
    try:
        return verifier.right(problem.reference, np.random.default_rng(0))
    except BoostError:
        return None  # for example, a pattern that no text was found for


def _not_accepted(
    verifier: Verifier,
    problems: Sequence[OwnProblem],
    right: Sequence[str | None],
    places: Sequence[str],
) -> list[Finding]:
    """Answers that the verifier refuses as responses to their own prompts."""
    asked = [i for i, text in enumerate(right) if text is not None]
    verdicts = verifier.grade(
        [problems[i].reference for i in asked], [right[i] or "" for i in asked]
    )
    return [
        Finding(
            "not accepted as its own answer",
            places[i],
            f"the verifier refuses {(right[i] or '')[:50]!r}",
            False,
        )
        for i, verdict in zip(asked, verdicts, strict=True)
        if not verdict
    ]


def _repeated(problems: Sequence[OwnProblem], places: Sequence[str]) -> list[Finding]:
    """Problems that are equal to earlier ones, or share 13 words in a row with them."""
    found = []
    for cluster in near_duplicates([p.problem for p in problems]):
        for i in cluster[1:]:
            equal = problems[i].problem in {problems[j].problem for j in cluster if j < i}
            kind = "repeated" if equal else "nearly repeated"
            said = f"{'equals' if equal else 'shares 13 words in a row with'} {places[cluster[0]]}"
            found.append(Finding(kind, places[i], said, False))
    return found


def _contaminated(splits: dict[str, list[OwnProblem]], place_of: dict[str, str]) -> list[Finding]:
    """Training problems that overlap a test problem: a run refuses them."""
    train, test = ([p.problem for p in splits[split]] for split in ("train", "test"))
    return [
        Finding(
            "in training and in test",
            place_of[train[overlap.index]],
            f"shares {overlap.shared[:40]!r}... with {place_of[test[overlap.test]]}",
            True,
        )
        for overlap in NgramIndex(test).overlaps(train)
    ]


def _lengths(values: Sequence[int]) -> tuple[int, int, int]:
    middle, high = np.percentile(values, [50, 99], method="higher")
    return int(middle), int(high), max(values)
