"""A labeler that asks people. The run writes its queries, stops, and resumes with the answers.

Files in `people/` of a run directory:

  queue.jsonl, queue.csv   the queries, hardest prompts first, each with an empty `answer`. Both
                           have the same rows, for a text editor or a spreadsheet. People fill in
                           either file or a copy. It is rewritten only after its answers are read
  asked.jsonl              the same rows for the program; nobody edits them
  answers.jsonl            the accepted answers; append-only, each is written to disk at once

An answer belongs to (seed, round, prompt, sample). Arms with the same query share its answer.
"""

import csv
import io
import itertools
import json
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

from etils import epath

from boostlm.errors import BoostError, WaitingForPeople
from boostlm.labelers.answer_files import read_rows, whole_numbers
from boostlm.labelers.base import Label, Labeler, Query
from boostlm.storage import durable_files

Key = tuple[int, ...]
_KEY = ("seed", "round", "prompt", "sample")
_COLUMNS = (*_KEY, "text", "answer")
_QUEUES = ("queue.jsonl", "queue.csv")
_TYPOGRAPHY = str.maketrans("\u2018\u2019\u201a\u201c\u201d\u201e\u2013\u2014", "'''\"\"\"--", "")


class Taken(NamedTuple):
    """The result of reading a file of answers.

    Attributes:
      new: the number of new answers.
      known: the number of rows that repeat an earlier answer.
      problems: (line, reason) of each rejected row.
    """

    new: int
    known: int
    problems: list[tuple[int, str]]


def people_labeler(folder: epath.Path, cost: float) -> Labeler:
    """A labeler that yields the existing answers and raises WaitingForPeople if any are missing."""

    def label(queries: Sequence[Query]) -> Iterator[list[tuple[Query, Label]]]:
        _take_queues(folder)
        answers = read_answers(folder)
        given = [
            (query, Label(answers[_key(query)], "people", cost))
            for query in queries
            if _key(query) in answers
        ]
        if given:
            yield given
        if len(given) < len(queries):
            raise WaitingForPeople(
                "answers are missing", [q for q in queries if _key(q) not in answers]
            )

    return label


def ask_people(folder: epath.Path, run_name: str, queries: Sequence[Query]) -> None:
    """Writes the queue and raises WaitingForPeople with instructions."""
    _take_queues(folder)
    answers = read_answers(folder)
    asked = {_key(query): query for query in queries if _key(query) not in answers}
    if not asked:
        raise WaitingForPeople(
            "the answers arrived during the run: run the same command to continue"
        )
    times = Counter(key[:3] for key in asked)  # the hardest prompts have the most queries
    rows = [
        asdict(asked[key]) | {"answer": ""}
        for key in sorted(asked, key=lambda key: (*key[:2], -times[key[:3]], *key[2:]))
    ]
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
    table = io.StringIO(newline="")
    writer = csv.DictWriter(table, _COLUMNS)
    writer.writeheader()
    writer.writerows(rows)
    durable_files.write_atomically(folder / "asked.jsonl", lines)
    durable_files.write_atomically(folder / "queue.jsonl", lines)
    durable_files.write_atomically(
        folder / "queue.csv", table.getvalue().encode("utf-8-sig")
    )  # as Excel does
    raise WaitingForPeople(
        f"waiting for people: {len(rows)} answers to {len(times)} prompts are needed.\n"
        f"Either answer in this terminal with\n  boostlm label {run_name}\n"
        f"or fill in the column `answer` of {folder / 'queue.csv'} or queue.jsonl.\n"
        f"A filled-in copy is read with\n  boostlm label {run_name} --from COPY\n"
        "Then run the same command to continue"
    )


def open_queries(folder: epath.Path) -> list[Query]:
    """The unanswered queries, in queue order."""
    answers = read_answers(folder)
    return [query for query in _asked(folder).values() if _key(query) not in answers]


def record(folder: epath.Path, answers: Iterable[tuple[Query, str]]) -> None:
    """Saves answers. They are on disk when this returns."""
    rows = [asdict(query) | {"answer": answer} for query, answer in answers]
    if rows:
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        durable_files.append_durably(folder / "answers.jsonl", text.encode())


def read_answers(folder: epath.Path) -> dict[Key, str]:
    """All saved answers."""
    return {_key(query): answer for query, answer in _rows_of(folder / "answers.jsonl")}


def tidy(answer: str) -> str:
    """An answer without trailing whitespace and leading blank lines; BoostError if it is empty."""
    answer = answer.replace("\r\n", "\n").rstrip().lstrip("\n")
    try:
        answer.encode()
    except UnicodeEncodeError:
        raise BoostError("not UTF-8") from None
    if not answer.strip():
        raise BoostError("no answer")
    return answer


def take_file(folder: epath.Path, path: epath.Path) -> Taken:
    """Saves the valid rows of a filled-in CSV or JSONL file and lists the problems of the others.

    Args:
      folder: the folder of the queue.
      path: a file with the columns seed, round, prompt, sample and answer. The numbers say which
        query a row answers. If the file also has a column text, a row with another prompt's text
        is rejected, which detects mixed-up rows. An unknown text only gives a warning, because
        spreadsheet programs change texts.

    Raises:
      BoostError: the file as a whole cannot be read.
    """
    file = read_rows(path, (*_KEY, "answer"))
    asked, known = _asked(folder), dict(_rows_of(folder / "answers.jsonl"))
    queries = Queries(asked | {_key(query): query for query in known})
    known = {_key(query): answer for query, answer in known.items()}
    new: dict[Key, tuple[Query, str]] = {}
    line_of: dict[Key, int] = {}
    again, problems, doubts, confirmed = 0, [], [], not file.guessed
    for line, row in file.rows:
        try:
            query, answer, doubt = _checked(row, queries)
            key = _key(query)
            if key in line_of:
                raise BoostError(f"line {line_of[key]} already answers this query")
            line_of[key] = line
            confirmed |= not doubt and not query.text.isascii()
            if key not in known:
                new[key] = query, answer
                doubts += [(line, doubt)] if doubt else []
            elif known[key] == answer:
                again += 1
            else:
                raise BoostError(f"{_name(key)} already has a different answer")
        except BoostError as error:
            problems.append((line, str(error)))
    record(folder, new.values())
    if new and not confirmed:
        warnings.warn(f"{path} is not UTF-8: it was read as Windows-1252", stacklevel=2)
    if doubts:
        warnings.warn(
            f"{path}: the answers of these rows were taken, but the spreadsheet program may have "
            f"changed more than the text:\n{describe(doubts)}",
            stacklevel=2,
        )
    return Taken(len(new), again, problems)


def describe(problems: Sequence[tuple[int, str]]) -> str:
    """A text that lists each problem once, with its lines."""
    lines: dict[str, list[int]] = {}
    for line, why in problems:
        lines.setdefault(why, []).append(line)
    return "\n".join(
        f"  line{'s' * (len(at) > 1)} {', '.join(map(str, at))}: {why}" for why, at in lines.items()
    )


class Queries:
    """The queries that answers may belong to.

    Attributes:
      by_key: each of them.
      texts: their texts, as `_folded` leaves them.
    """

    def __init__(self, by_key: dict[Key, Query]) -> None:
        self.by_key = by_key
        self.texts = {_folded(query.text) for query in by_key.values()}
        self._values = [set(column) for column in zip(*by_key)] or [set()] * len(_KEY)

    def key_of(self, cells: Sequence[Any], text: str) -> Key:
        """The key that the cells of a row mean.

        Several numbers may be meant by a cell (1.000), and any number of the queue by an empty one,
        as in a merged cell; then the text has to match, too.

        Raises:
          BoostError: the queue has no such query, or several.
        """
        empty = [isinstance(cell, str) and not cell.strip() for cell in cells]
        meant = [
            values if blank else whole_numbers(cell)
            for cell, blank, values in zip(cells, empty, self._values, strict=True)
        ]
        if not all(meant) or (any(empty) and not text.strip()):
            raise BoostError(f"{', '.join(_KEY)} are not all whole numbers")
        found = [key for key in itertools.product(*meant) if key in self.by_key]
        if any(empty):
            found = [k for k in found if self.by_key[k].text.split() == text.split()]
        if len(found) == 1:
            return found[0]
        if found:
            names = " or ".join(map(_name, sorted(found)[:3]))
            raise BoostError(f"it is not clear which query this is ({names}): write plain numbers")
        key = tuple(-1 if blank else min(m) for m, blank in zip(meant, empty))
        raise BoostError(f"the queue does not contain {_name(key)}")


def _folded(text: str) -> str:
    """A text without what programs change in it: spaces, quotes and dashes."""
    plain = text.translate(_TYPOGRAPHY)
    return " ".join(plain.removeprefix("'").split())


def _take_queues(folder: epath.Path) -> None:
    """Saves the answers that people wrote into the queue files. Empty rows are allowed there."""
    for name in _QUEUES:
        if (folder / name).exists():
            problems = [p for p in take_file(folder, folder / name).problems if p[1] != "no answer"]
            if problems:
                raise BoostError(
                    f"{folder / name} has answers that cannot be used:\n{describe(problems)}\n"
                    "The others are saved. Fix or remove these rows, then run again"
                )


def _key(query: Query) -> Key:
    return query.seed, query.round, query.prompt, query.sample


def _name(key: Key) -> str:
    return ", ".join(f"{name} {value}" for name, value in zip(_KEY, key, strict=True))


def _asked(folder: epath.Path) -> dict[Key, Query]:
    return {_key(query): query for query, _ in _rows_of(folder / "asked.jsonl")}


def _rows_of(path: epath.Path) -> list[tuple[Query, str]]:
    """(query, answer) of each row of a file that only this module writes."""
    rows = []
    for number, line in enumerate(durable_files.complete_lines(path), 1):
        try:
            row = json.loads(line)
            answer = row.pop("answer")
            rows.append((Query(**row), answer))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise BoostError(
                f"{path}, line {number} is damaged ({error}). Nothing was changed: fix or remove "
                "that line, then run again"
            ) from error
    return rows


def _checked(row: dict[str, Any] | str, queries: Queries) -> tuple[Query, str, str]:
    """A row's query, its answer, and what is doubtful; BoostError if the row is invalid."""
    if isinstance(row, str):
        raise BoostError(row)
    given, text = row.get("answer"), str(row.get("text") or "")
    key = queries.key_of([row.get(name) for name in _KEY], text)
    if not isinstance(given, str):
        raise BoostError("the answer is not a string or a number")
    doubt, query = "", queries.by_key[key]
    if text.strip() and text.split() != query.text.split():
        if _folded(text) in queries.texts - {_folded(query.text)}:
            raise BoostError(f"the text does not match {_name(key)}: it is another prompt's")
        doubt = f"the text is not that of {_name(key)}"
    return query, tidy(given), doubt
