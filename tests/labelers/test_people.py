"""The people labeler: the queue, answers from the terminal and files, and rejected rows."""

import builtins
import csv
import io
import json
import signal
import subprocess
import sys

import pytest
from etils import epath
from support.runs import environment, tiny_config

from boostlm.cli.main import main
from boostlm.config import LabelConfig
from boostlm.errors import BoostError, WaitingForPeople
from boostlm.labelers import people
from boostlm.labelers.base import Query
from boostlm.labelers.people import (
    ask_people,
    describe,
    open_queries,
    people_labeler,
    read_answers,
    take_file,
)
from boostlm.storage.run_dir import RunDir

QUERIES = [
    Query(0, 1, 7, 0, "copy abc="),
    Query(0, 1, 9, 0, "two\nlines, é="),
    Query(0, 1, 9, 1, "two\nlines, é="),
    Query(0, 1, 11, 0, '=say "x";='),
]


@pytest.fixture
def folder(tmp_path):
    """The people's folder of a run that waits for four answers."""
    run_dir = RunDir(tmp_path / "run")
    run_dir.create(tiny_config(label=LabelConfig(labeler="people", budget=4)))
    with pytest.raises(WaitingForPeople):
        ask_people(run_dir.people_folder, run_dir.name, QUERIES)
    return run_dir.people_folder


def labels(folder, queries=QUERIES):
    """(answers by (prompt, sample), missing queries) as the labeler sees them."""
    given = {}
    try:
        for batch in people_labeler(folder, 2.5)(queries):
            given |= {(q.prompt, q.sample): label for q, label in batch}
    except WaitingForPeople as wait:
        return given, list(wait.queries)
    return given, []


def rows(folder):
    """The rows of queue.jsonl."""
    return [json.loads(line) for line in (folder / "queue.jsonl").read_text().splitlines()]


def fill(folder, name, answer, path=None):
    """Fills the queue with `answer(row)`, as an editor or a spreadsheet would."""
    path = path or folder / name
    if name.endswith(".jsonl"):
        filled = [row | {"answer": answer(row)} for row in rows(folder)]
        path.write_text("".join(json.dumps(row) + "\n" for row in filled))
        return path
    text = (folder / "queue.csv").read_bytes().decode("utf-8-sig")
    table = list(csv.DictReader(io.StringIO(text, newline="")))
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, list(table[0]))
    writer.writeheader()
    writer.writerows([row | {"answer": answer(row)} for row in table])
    path.write_bytes(out.getvalue().encode("utf-8-sig"))
    return path


def lines(folder, *changes):
    """A JSONL file of the queue's rows, each with its changes."""
    path = folder / "mine.jsonl"
    text = [c if isinstance(c, str) else json.dumps(row | c) for row, c in zip(rows(folder), changes)]  # fmt: skip
    path.write_bytes(("\n".join(text) + "\n").encode(errors="surrogateescape"))
    return path


# --- the queue --------------------------------------------------------------------------------


def test_the_queue_has_the_hardest_prompts_first(folder):
    asked = [(row["prompt"], row["sample"]) for row in rows(folder)]
    assert asked == [(9, 0), (9, 1), (7, 0), (11, 0)]  # prompt 9 is asked twice: the hardest
    assert rows(folder)[2] == {"seed": 0, "round": 1, "prompt": 7, "sample": 0, "text": "copy abc=", "answer": ""}  # fmt: skip
    assert "é" in (folder / "queue.jsonl").read_text()
    text = (folder / "queue.csv").read_bytes().decode("utf-8-sig")
    table = list(csv.DictReader(io.StringIO(text, newline="")))
    assert [{k: str(v) for k, v in row.items()} for row in rows(folder)] == table


def test_the_error_says_what_to_do(folder):
    with pytest.raises(WaitingForPeople) as caught:
        ask_people(folder, "runs/x", [*QUERIES, QUERIES[0]])
    for part in ("4 answers to 3 prompts are needed", "boostlm label runs/x", "queue.csv", "--from COPY", "run the same command"):  # fmt: skip
        assert part in str(caught.value)
    assert len(rows(folder)) == 4  # two arms with the same query ask once


def test_the_labeler_yields_existing_answers_and_names_the_missing_ones(folder):
    assert labels(folder) == ({}, QUERIES)
    people.record(folder, [(QUERIES[1], "one"), (QUERIES[3], "two")])
    given, missing = labels(folder)
    assert {k: (x.text, x.source, x.cost, x.unanswered) for k, x in given.items()} == {
        (9, 0): ("one", "people", 2.5, ""),
        (11, 0): ("two", "people", 2.5, ""),
    }
    assert missing == [QUERIES[0], QUERIES[2]]
    other_round = Query(0, 2, 9, 0, "two\nlines, é=")
    assert labels(folder, [other_round]) == ({}, [other_round])


@pytest.mark.parametrize("name", ["queue.jsonl", "queue.csv"])
def test_answers_in_the_queue_files_are_saved_and_never_overwritten(folder, name):
    fill(folder, name, lambda row: "mine" if int(row["prompt"]) == 9 else "")
    with pytest.raises(WaitingForPeople, match=r"2 answers to .* are needed"):
        ask_people(folder, "runs/x", QUERIES)
    assert [row["prompt"] for row in rows(folder)] == [7, 11]
    assert sorted(labels(folder)[0]) == [(9, 0), (9, 1)]
    bad = fill(folder, name, lambda row: "good" if int(row["prompt"]) == 7 else "é" * 3)
    bad.write_bytes(bad.read_bytes().replace(b"11", b"12"))
    before = bad.read_bytes()
    for look in (lambda: labels(folder), lambda: ask_people(folder, "runs/x", QUERIES)):
        with pytest.raises(BoostError, match=r"cannot be used:\n  line 3?2?: the queue does not contain .*prompt 12"):  # fmt: skip
            look()
    assert bad.read_bytes() == before
    assert (0, 1, 7, 0) in read_answers(folder)


def test_answers_that_arrive_during_the_run_need_no_queue(folder):
    people.record(folder, [(query, "x") for query in QUERIES])
    with pytest.raises(WaitingForPeople, match="arrived during the run"):
        ask_people(folder, "runs/x", QUERIES)


def test_a_torn_or_damaged_line_of_answers(folder):
    people.record(folder, [(query, "x") for query in QUERIES])
    path = folder / "answers.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole[:-5])
    with pytest.warns(UserWarning, match="torn last line"):
        assert len(read_answers(folder)) == 3
    path.write_bytes(whole.replace(b'"seed"', b'"sad"', 1))
    with pytest.raises(BoostError, match=r"answers\.jsonl, line 1 is damaged"):
        read_answers(folder)


# --- files ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["queue.jsonl", "queue.csv"])
def test_a_filled_in_copy_can_be_read_twice(folder, tmp_path, name):
    copy = fill(folder, name, lambda row: f" é {row['prompt']}\r\n  x \r\n\n", tmp_path / f"a.{name[6:]}")  # fmt: skip
    assert take_file(folder, epath.Path(copy)) == (4, 0, [])
    assert take_file(folder, epath.Path(copy)) == (0, 4, [])
    assert open_queries(folder) == []
    given, missing = labels(folder)
    assert ([given[7, 0].text, given[9, 1].text], missing) == ([" é 7\n  x", " é 9\n  x"], [])
    assert len((folder / "answers.jsonl").read_text().splitlines()) == 4


def test_other_delimiters_and_orders_of_columns(folder, tmp_path):
    path = tmp_path / "mine.CSV"
    for delimiter, prompt in ((";", 7), ("\t", 11)):
        cells = [["Answer", "sample", "prompt", "round", "seed", "note"], ["a,b", "0", str(prompt), "1", "0", ""]]  # fmt: skip
        path.write_text("".join(delimiter.join(row) + "\n" for row in cells) + "\n")
        assert take_file(folder, epath.Path(path)) == (1, 0, [])
    assert labels(folder)[0][11, 0].text == "a,b"


GOOD = {"answer": "good"}


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"answer": ""}, "no answer"),
        ({"answer": " \n"}, "no answer"),
        ({"answer": True}, "the answer is not a string"),
        ({"answer": None}, "the answer is not a string"),
        ({"answer": "\ud800"}, "not UTF-8"),
        ({"prompt": 8, **GOOD}, "the queue does not contain seed 0, round 1, prompt 8, sample 1"),
        ({"seed": 3, **GOOD}, "the queue does not contain seed 3"),
        ({"prompt": "many", **GOOD}, "seed, round, prompt, sample are not all whole numbers"),
        ({"prompt": 9.5, **GOOD}, "not all whole numbers"),
        ({"text": "copy abc=", **GOOD}, "the text does not match seed 0, round 1, prompt 9"),
        ({"sample": 0, **GOOD}, "line 1 already answers this query"),
        ("{", "not a JSON object"),
        ("[1]", "not a JSON object"),
        ("[" * 100_000, "not a JSON object"),
        ('{"seed": 0}', "not all whole numbers"),
        ('{"answer": "\udcff"}', "not all whole numbers"),
    ],
)
def test_a_bad_row_is_rejected_and_the_good_ones_are_saved(folder, change, why):
    taken = take_file(folder, lines(folder, GOOD, change, GOOD, GOOD))
    [(line, said)] = taken.problems
    assert line == 2
    assert why in said
    assert taken.new == 3
    assert sorted(labels(folder)[0]) == [(7, 0), (9, 0), (11, 0)]
    assert [(q.prompt, q.sample) for q in open_queries(folder)] == [(9, 1)]


def test_a_different_second_answer_is_rejected(folder):
    take_file(folder, lines(folder, GOOD))
    taken = take_file(folder, lines(folder, {"answer": "better"}, GOOD))
    assert (taken.new, taken.known) == (1, 0)
    assert taken.problems == [(1, "seed 0, round 1, prompt 9, sample 0 already has a different answer")]  # fmt: skip
    assert labels(folder)[0][9, 0].text == "good"


def test_bad_rows_of_a_spreadsheet_are_named_by_their_first_line(folder, tmp_path):
    head = "seed,round,prompt,sample,answer\n"
    path = tmp_path / "mine.csv"
    text = head + '0,1,7,0,"two\nlines"\n0,1,9\n\n0,1,9,0,"a "bad" quote"\n,,,,\n0,1,11,0,good\n'
    path.write_bytes(text.encode() + b"0,1,9,1,\xff\n")
    taken = take_file(folder, epath.Path(path))
    assert taken.new == 2
    assert [line for line, _ in taken.problems] == [4, 6, 9]
    said = describe(taken.problems)
    for part in ("line 4: 3 cells, but the first line has 5", "line 6: unreadable", "line 9: not UTF-8"):  # fmt: skip
        assert part in said
    assert describe([(1, "a"), (2, "b"), (3, "a")]) == "  lines 1, 3: a\n  line 2: b"


# --- boostlm label ----------------------------------------------------------------------------


def label(capsys, folder, *arguments):
    """(status, stdout, stderr) of `boostlm label`."""
    status = main(["label", str(folder.parent), *map(str, arguments)])
    said = capsys.readouterr()
    return status, said.out, said.err


@pytest.fixture
def typed(monkeypatch):
    """Sets the typed lines. An exception in the list is raised instead."""

    def set_lines(*given):
        waiting = list(given)

        def read(prompt):
            word = waiting.pop(0) if waiting else EOFError()
            if isinstance(word, BaseException):
                raise word
            return word

        monkeypatch.setattr(builtins, "input", read)
        return waiting

    return set_lines


def test_answers_are_typed_in_the_terminal(capsys, folder, typed):
    typed("12", ".", ".skip", "first", "", " .", ".", "", ".", "z", ".")
    status, out, err = label(capsys, folder)
    assert (status, err) == (0, "")
    assert labels(folder)[0][9, 0].text == "12"
    assert labels(folder)[0][7, 0].text == "first\n\n ."
    assert labels(folder)[0][11, 0].text == "z"
    assert "(no answer: type it again, or .skip)" in out
    assert "two\nlines, é=" in out
    assert out.endswith("1 still missing\n")
    typed("last", ".")
    status, out, _ = label(capsys, folder)
    assert "--- 1 of 1: seed 0, round 1, prompt 9, sample 1 ---" in out
    assert out.endswith("All are answered: continue with boostlm run\n")
    assert label(capsys, folder)[:2] == (0, "All are answered: continue with boostlm run\n")


@pytest.mark.parametrize(
    ("end", "status"), [(".quit", 0), (EOFError(), 0), (KeyboardInterrupt(), 130)]
)
def test_leaving_keeps_the_answers_so_far(capsys, folder, typed, end, status):
    typed("12", ".", end)
    assert label(capsys, folder)[0] == status
    typed("12", ".", "half an answer", EOFError() if end == ".quit" else end)
    assert label(capsys, folder)[0] == status
    assert len(read_answers(folder)) == 2


def test_each_answer_is_on_disk_before_the_next_is_asked(capsys, folder, monkeypatch, typed):
    on_disk = []
    waiting = typed(*["x", "."] * 4)
    read = builtins.input
    monkeypatch.setattr(builtins, "input", lambda p: (on_disk.append(len(read_answers(folder))), read(p))[1])  # fmt: skip
    label(capsys, folder)
    assert (on_disk, waiting) == ([0, 0, 1, 1, 2, 2, 3, 3], [])


def test_a_prompt_cannot_manipulate_the_terminal(capsys, folder, typed):
    with pytest.raises(WaitingForPeople):
        ask_people(folder, "x", [Query(0, 0, 1, 0, "a\x1b[2Jb\rc\td\u202e")])
    typed(".quit")
    assert "a\\x1b[2Jb\\rc\td\\u202e" in label(capsys, folder)[1]


def test_a_file_is_read_and_its_bad_rows_are_named(capsys, folder):
    path = lines(folder, GOOD, {"answer": ""}, GOOD, {"answer": ""})
    status, out, err = label(capsys, folder, "--from", path)
    assert (status, out) == (2, "2 new answers. 2 still missing\n")
    assert f"boostlm: {path}: 2 rows were rejected, the others are saved:\n  lines 2, 4: no answer" in err  # fmt: skip
    status, out, err = label(capsys, folder, "--from", lines(folder, GOOD, GOOD, GOOD, GOOD))
    assert (status, err) == (0, "")
    assert out == "2 new answers, 2 already known. All are answered: continue with boostlm run\n"


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.csv", "", "a.csv has no column seed, round, prompt, sample, answer in its first line"),
        ("a.csv", "\n\n", "has no column"),
        ("a.csv", "seed,round,prompt,sample,text\n", "has no column answer"),
        ("a.csv", "seed,round,prompt,sample,answer\n", "a.csv has no rows"),
        ("a.csv", 'seed,round,prompt,sample,answer\n0,1,7,0,"x', "line 2: unreadable"),
        ("a.csv", '"seed', "has no column"),
        ("a.jsonl", "", "a.jsonl has no rows"),
        ("a.xlsx", "", "only .csv and .jsonl files can be read"),
        ("none.csv", None, "none.csv cannot be read: No such file"),
    ],
)
def test_an_empty_file_is_reported(capsys, folder, tmp_path, name, text, said):
    if text is not None:
        (tmp_path / name).write_text(text)
    status, _, err = label(capsys, folder, "--from", tmp_path / name)
    assert status == 2
    assert said in err
    assert read_answers(folder) == {}


def test_a_run_with_another_labeler_asks_nobody(capsys, tmp_path):
    RunDir(tmp_path).create(tiny_config())
    status, _, err = label(capsys, tmp_path / "people")
    assert status == 2
    assert "has label.labeler simulated: boostlm label needs a run" in err


def test_sigkill_while_answers_are_typed_loses_none(folder):
    """A real process, killed in the middle of its third answer."""
    command = [sys.executable, "-u", "-m", "boostlm", "label", str(folder.parent)]
    pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment())
    with subprocess.Popen(command, **pipes) as process:
        process.stdin.write(b"one\n.\ntwo\n.\nthr")
        process.stdin.flush()
        for line in process.stdout:
            if b"3 of 4" in line:
                break
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert [a for a in read_answers(folder).values()] == ["one", "two"]
    assert [(q.prompt, q.sample) for q in open_queries(folder)] == [(7, 0), (11, 0)]
