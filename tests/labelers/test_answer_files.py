"""What spreadsheet programs make of a queue is read if it has one meaning, and else named by line."""

import json
import warnings
from pathlib import Path

import pytest
from etils import epath

from boostlm.errors import BoostError, WaitingForPeople
from boostlm.labelers.answer_files import whole_numbers
from boostlm.labelers.base import Query
from boostlm.labelers.people import ask_people, open_queries, read_answers, take_file

LONG = "word " * 8_000  # 40,000 characters, of which Excel keeps 32,767
HUGE = "x" * 200_000  # longer than the csv module's own limit
QUERIES = [
    Query(0, 1, 7, 0, "copy abc="),
    Query(0, 1, 9, 0, "two\nlines, é;="),
    Query(0, 1, 9, 1, "two\nlines, é;="),
    Query(0, 1, 11, 0, '=say "x";='),
]
OTHERS = [
    Query(0, 1, 1234, 0, LONG),
    Query(0, 1, 2, 0, 'She said "it\'s" - so'),
    Query(0, 1, 5, 0, HUGE),
    Query(0, 1, 3000, 0, "three"),
    Query(0, 1, 3, 0, "three"),
]
KEYS = [(q.seed, q.round, q.prompt, q.sample) for q in QUERIES]
SENT = Path(__file__).parent.parent / "data" / "spreadsheets"


@pytest.fixture
def folder(tmp_path):
    path = epath.Path(tmp_path / "people")
    with pytest.raises(WaitingForPeople):
        ask_people(path, "runs/x", [*QUERIES, *OTHERS])
    return path


def take(folder, data, name="mine.csv"):
    """(what was taken, the answers by prompt and sample, the warnings' texts)."""
    path = epath.Path(folder.parent / name)
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        taken = take_file(folder, path)
    answers = {key[2:]: answer for key, answer in read_answers(folder).items()}
    return taken, answers, [str(w.message) for w in told]


@pytest.mark.parametrize("name", sorted(p.name for p in SENT.iterdir()))
def test_what_was_sent_back_is_taken_whole(folder, name):
    taken, answers, told = take(folder, (SENT / name).read_bytes(), name)
    assert (taken, told) == ((4, 0, []), [])
    assert answers == {(7, 0): "A7", (9, 0): "A9", (9, 1): "A9", (11, 0): "A11"}
    assert len(open_queries(folder)) == len(OTHERS)


def table(delimiter=",", end="\r\n", ids=str, texts=True, columns=None):
    """The four rows, answered, as a table."""
    columns = columns or ["seed", "round", "prompt", "sample", *["text"] * texts, "answer"]

    def quoted(cell):
        return '"' + cell.replace('"', '""') + '"' if set(cell) & set('",;\t|\n') else cell

    rows = [columns]
    for query in QUERIES:
        row = {name: ids(getattr(query, name)) for name in ("seed", "round", "prompt", "sample")}
        row |= {"text": query.text, "answer": f"é{query.prompt}"}
        rows.append([row.get(name.strip().lower(), "") for name in columns])
    return "".join(delimiter.join(map(quoted, row)) + end for row in rows)


MIXED = ["Answer", " sample", "prompt", "note", "ROUND ", "seed", "Text", ""]
FORMS = {
    "UTF-8": table().encode(),
    "UTF-8 with a BOM": table().encode("utf-8-sig"),
    "UTF-16 LE": b"\xff\xfe" + table("\t").encode("utf-16-le"),
    "UTF-16 BE": b"\xfe\xff" + table("\t").encode("utf-16-be"),
    "UTF-16 LE without a BOM": table("\t").encode("utf-16-le"),
    "UTF-16 BE without a BOM": table().encode("utf-16-be"),
    "Windows-1252": table().encode("cp1252"),
    "Windows-1252, semicolons": table(";").encode("cp1252"),
    "semicolons": table(";").encode(),
    "tabs": table("\t").encode(),
    "bars": table("|").encode(),
    "sep=;": ("sep=;\r\n" + table(";")).encode("utf-8-sig"),
    'quoted "sep=,"': ('"sep=,"\n' + table()).encode(),
    "sep=^": ("sep=^\n" + table("^")).encode(),
    "SEP= and a tab": ("SEP=\t\r\n" + table("\t")).encode(),
    "Unix line ends": table(end="\n").encode(),
    "Mac line ends": table(end="\r").encode(),
    "ids 7.0": table(ids=lambda n: f"{n}.0").encode(),
    "ids 7,0": table(";", ids=lambda n: f"{n},0").encode(),
    "ids 7.": table(ids=lambda n: f"{n}.").encode(),
    "ids 7.000": table(ids=lambda n: f"{n}.000").encode(),
    "ids '7": table(ids=lambda n: f"'{n}").encode(),
    'ids ="7"': table(ids=lambda n: f'="{n}"').encode(),
    "ids 07": table(ids=lambda n: f" 0{n}\u00a0").encode(),
    "columns in another order, and others": table(columns=MIXED).encode(),
    "no texts": table(texts=False).encode(),
    "a title and an empty row above": ("Labels for today,,,,,\r\n,,,,,\r\n" + table()).encode(),
    "empty rows between and below": table().replace("\r\n0", "\r\n,,,,,\r\n\r\n0").encode() + b",,,\r\n",
    "empty cells at the end": table(end=",,\r\n").replace("answer,,", "answer").encode(),
    "an apostrophe before a formula": table().replace('"=say', "\"'=say").encode(),
    "no line end at the end": table().removesuffix("\r\n").encode(),
    "a merged column": table().replace("\r\n0,1,", "\r\n,,").replace("\r\n,,", "\r\n0,1,", 1).encode(),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_one_table_in_many_forms(folder, form):
    taken, answers, told = take(folder, FORMS[form])
    assert (taken, told) == ((4, 0, []), [])
    assert answers == {(7, 0): "é7", (9, 0): "é9", (9, 1): "é9", (11, 0): "é11"}
    again, _, told = take(folder, FORMS[form])
    assert (again, told) == ((0, 4, []), [])


HEAD = "seed,round,prompt,sample,text,answer\n"


@pytest.mark.parametrize(
    ("row", "key", "answer"),
    [
        (f'0,1,1234,0,"{LONG[:32_767]}",5', (1234, 0), "5"),
        ("0,1,2,0,She said “it’s” – so,5", (2, 0), "5"),
        ("0,1,11,0,#NAME?,5", (11, 0), "5"),
        ("0,1,11,0,#NOM?,5", (11, 0), "5"),
        ("0,1,7,0,Err:509,5", (7, 0), "5"),
        ("0,1,7,0,copy a?c=,=2+3", (7, 0), "=2+3"),
    ],
)
def test_a_text_that_the_program_changed_is_warned_of(folder, row, key, answer):
    taken, answers, told = take(folder, HEAD + row)
    assert (taken, answers) == ((1, 0, []), {key: answer})
    [warning] = told
    assert f"line 2: the text is not that of seed 0, round 1, prompt {key[0]}, sample 0" in warning
    assert take(folder, HEAD + row)[2] == []  # said once, when the answer is taken


@pytest.mark.parametrize(
    ("row", "key", "answer"),
    [
        ("0,1,7,0,,5", (7, 0), "5"),
        ("0,1,7,0, copy  abc= ,5", (7, 0), "5"),
        ('0,1,"1,234",0,,5', (1234, 0), "5"),
        ("0,1,1.234,0,,5", (1234, 0), "5"),
        ("0,1,1 234,0,,5", (1234, 0), "5"),
        ("0,1,1\u202f234.00,0,,5", (1234, 0), "5"),
        ("0,1,1'234,0,,5", (1234, 0), "5"),
        ("0,1,7,0,,'=2+3", (7, 0), "=2+3"),
        ("0,1,7,0,,'-3", (7, 0), "-3"),
        ("0,1,7,0,,'-'", (7, 0), "'-'"),
        ("0,1,7,0,,'tis", (7, 0), "'tis"),
        ('0,1,7,0,,"a\nb, c"', (7, 0), "a\nb, c"),
        ("0,1,7,0,,#1 is right", (7, 0), "#1 is right"),
        (f"0,1,5,0,{HUGE},5", (5, 0), "5"),
        ("0,1,9,,\"two\nlines, é;=\",5\n0,1,9,1,,5", (9, 1), "5"),
    ],
)  # fmt: skip
def test_cells_of_one_meaning(folder, row, key, answer):
    taken, answers, told = take(folder, HEAD + row)
    assert (taken.new, answers, told) == (1, {key: answer}, [])


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ("0,1,7,0,=say “x”;=,5", "the text does not match seed 0, round 1, prompt 7, sample 0"),
        ("0,1,7,0,copy abc=,#NAME?", "the answer is #NAME?"),
        ("0,1,7,0,copy abc=,#DIV/0!", "the answer is #DIV/0!"),
        ("0,1,7,0,copy abc=,#WERT!", "the answer is #WERT!"),
        ("0,1,7,0,copy abc=,#N/A", "the answer is #N/A"),
        ("0,1,7,0,copy abc=,#######", "the answer is #######"),
        ("0,1,7,0,copy abc=,Err:508", "the answer is Err:508"),
        ("0,1,7,0,copy abc=,", "no answer"),
        ("0,1,7,0", "no answer"),
        ("0,1,7.5,0,copy abc=,5", "not all whole numbers"),
        ("0,1,7e0,0,copy abc=,5", "not all whole numbers"),
        ("0,1,1_1,0,copy abc=,5", "not all whole numbers"),
        ("0,1,-7,0,copy abc=,5", "not all whole numbers"),
        ("0,1,7-Jan,0,copy abc=,5", "not all whole numbers"),
        ("0,1,,0,,5", "not all whole numbers"),
        ("0,1,,0,copy abd=,5", "the queue does not contain"),
        ('0,1,9,,"two\nlines, é;=",5', "it is not clear which query this is"),
        ("0,1,3.000,0,three,5", "it is not clear which query this is"),
        ('0,1,"12,34",0,,5', "not all whole numbers"),
        ("0,1,7,0,copy abc=,a,b", "7 cells, but the first line has 6"),
        (f"0,1,{'9' * 5000},0,,5", "not all whole numbers"),
    ],
)
def test_what_has_no_meaning_or_several_is_named(folder, row, why):
    taken, answers, _ = take(folder, HEAD + row)
    [(line, said)] = taken.problems
    assert (line, answers) == (2, {})
    assert why in said


@pytest.mark.parametrize(
    ("written", "answer"),
    [("5", "5"), ("-5.50", "-5.50"), ("1e3", "1e3"), ("12345678901234567890", "12345678901234567890"), ('"5"', "5")],
)  # fmt: skip
def test_an_answer_that_is_a_json_number(folder, written, answer):
    row = f'{{"seed": 0, "round": 1.0, "prompt": 7.0, "sample": 0, "answer": {written}}}\n'
    taken, answers, told = take(folder, row, "mine.jsonl")
    assert (taken, answers, told) == ((1, 0, []), {(7, 0): answer}, [])


@pytest.mark.parametrize("written", ["true", "null", "[5]", '{"a": 5}', "NaN", "Infinity"])
def test_an_answer_that_is_no_text_and_no_number(folder, written):
    row = f'{{"seed": 0, "round": 1, "prompt": 7, "sample": 0, "answer": {written}}}\n'
    [(line, why)] = take(folder, row, "mine.jsonl")[0].problems
    assert (line, why) == (1, "the answer is not a string or a number")


def test_a_json_line_ends_at_a_line_feed_only(folder):
    answers = [f"a{c}b" for c in "\u2028\u2029\x85"]
    rows = [json.dumps({**vars(q), "answer": a}, ensure_ascii=False) for q, a in zip(QUERIES, answers)]  # fmt: skip
    taken, found, _ = take(folder, "\ufeff" + "\r\n".join(rows), "mine.jsonl")
    assert (taken, list(found.values())) == ((3, 0, []), answers)


def test_an_encoding_that_nothing_confirms_is_said_or_refused(folder):
    one = "0,1,7,0,copy abc=,\xfc\n"
    taken, answers, told = take(folder, (HEAD + one).encode("cp1252"))
    assert (taken.new, answers) == (1, {(7, 0): "ü"})
    assert ["is not UTF-8: it was read as Windows-1252" in text for text in told] == [True]
    for text, data in (("é", b"\xfc"), ("x", b"\x81")):  # damaged UTF-8, and a byte of no letter
        row = f"0,1,2,0,{text},A\n0,1,11,0,,".encode()
        [(line, why)] = take(folder, HEAD.encode() + row + data + b"\n")[0].problems
        assert (line, why) == (3, "not UTF-8")


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (HEAD.replace("text", "answer") + "0,1,7,0,a,b", "two columns named answer"),
        (HEAD.replace("seed", "prompt,seed") + "7,0,1,7,0,,b", "two columns named prompt"),
        ("\ufeffseed;round;prompt;sample\n", "has no column answer"),
        (b"\xff\xfes\0e\0e", "is damaged"),
    ],
)
def test_a_file_that_cannot_be_read(folder, data, why):
    with pytest.raises(BoostError, match=why):
        take(folder, data)


@pytest.mark.parametrize(
    ("cell", "numbers"),
    [
        ("7", {7}), (7, {7}), ("7.0", {7}), ("7,00", {7}), ("1.234", {1234}), ("1.000", {1, 1000}),
        ("1,234,567", {1234567}), ("1.234,0", {1234}), ("0", {0}), ("1,234.567", set()), ("", set()),
        ("7.50", set()), ("True", set()), ("１", set()), ("1 2", set()), (None, set()),
    ],
)  # fmt: skip
def test_the_numbers_that_a_cell_may_mean(cell, numbers):
    assert whole_numbers(cell) == numbers
