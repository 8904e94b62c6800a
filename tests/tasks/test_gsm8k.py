"""GSM8K: the splits, the prompts, the answer key, and where the rows come from."""

import dataclasses
import hashlib
import json
import os
import random
import re
import subprocess
import sys
import time
from collections import Counter

import numpy as np
import pytest
import requests
import tensorflow_datasets as tfds
from support.data_sets import FIXTURES as ALL_FIXTURES
from support.data_sets import REPOSITORY, data_set
from tensorflow_datasets.text import gsm8k as tfds_gsm8k

from boostlm.config import SPLITS, DataConfig
from boostlm.errors import BoostError
from boostlm.tasks import tfds_data as prepared
from boostlm.tasks.contamination import NgramIndex, check_contamination
from boostlm.tasks.gsm8k import task as gsm8k
from boostlm.tasks.gsm8k.final_answer import is_correct
from boostlm.tasks.gsm8k.source import LocalGsm8k, Row, load_gsm8k_rows

FIXTURES = ALL_FIXTURES / "gsm8k"


@pytest.fixture(autouse=True)
def data_dir(tmp_path, monkeypatch):
    """A tensorflow-datasets folder of the test's own."""
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    return tmp_path / "tfds"


@pytest.fixture
def files(tmp_path):
    """A copy of the fixtures that a test may change."""
    folder = tmp_path / "files"
    folder.mkdir()
    for split in ("train", "test"):
        (folder / f"{split}.jsonl").write_bytes((FIXTURES / f"{split}.jsonl").read_bytes())
    return folder


def config(path=FIXTURES, train=10, evaluated=3, split="test"):
    return DataConfig(
        task="gsm8k",
        path=str(path),
        train_prompts=train,
        eval_prompts=evaluated,
        eval_split=split,
    )


def fixture_rows():
    texts = {s: (FIXTURES / f"{s}.jsonl").read_text("utf-8") for s in ("train", "test")}
    return {s: [Row(**json.loads(line)) for line in t.splitlines()] for s, t in texts.items()}


def task(train=10, evaluated=3, split="test", rows=None):
    """The task without tensorflow-datasets."""
    return gsm8k.Gsm8kTask(rows or fixture_rows(), config("", train, evaluated, split))


def question(prompt):
    assert prompt.startswith("Question: ")
    assert prompt.endswith("\nAnswer:")
    return prompt.removeprefix("Question: ").removesuffix("\nAnswer:")


def questions(loaded, split):
    return [question(p) for p in loaded.prompts[split].texts]


def references(loaded, split):
    key = loaded.answer_key(split)
    return [key.correct_response(i) for i in range(len(loaded.prompts[split].texts))]


# --- splits -----------------------------------------------------------------------------------


def test_fixtures_load_whole_and_right():
    loaded = gsm8k.load_gsm8k(config(train=37, evaluated=12))
    rows = fixture_rows()
    assert [len(loaded.prompts[s].texts) for s in SPLITS] == [37, 3, 12]
    assert [len(loaded.prompts[s].groups) for s in SPLITS] == [37, 3, 12]
    train = questions(loaded, "train") + questions(loaded, "validation")
    assert sorted(train) == sorted(r.question for r in rows["train"])
    assert sorted(questions(loaded, "test")) == sorted(r.question for r in rows["test"])
    answers = {r.question: r.answer for split in rows for r in rows[split]}
    for split in SPLITS:
        for asked, text in zip(questions(loaded, split), references(loaded, split), strict=True):
            assert text.splitlines()[-1] == answers[asked].splitlines()[-1]
            assert text.startswith(" ")
            assert "<<" not in text


@pytest.mark.parametrize(
    ("size", "train"), [(7473, 7000), (40, 37), (747, 699), (2, 1)], ids=lambda n: str(n)
)
def test_proportion(size, train):
    rows = [Row(f"How much is {i} and {i}?", f"It is {2 * i}.\n#### {2 * i}") for i in range(size)]
    loaded = task(1, 1, rows={"train": rows, "test": rows[:1]})
    assert len(loaded.tokenizer_texts()) == 2 * (train - 1) + 1
    with pytest.raises(BoostError, match=f"train split of gsm8k has {train} problems"):
        task(train + 1, 1, rows={"train": rows, "test": rows[:1]})
    if size == 7473:
        whole = task(7000, 473, "validation", rows={"train": rows, "test": rows[:1]})
        assert [len(whole.prompts[s].texts) for s in SPLITS] == [7000, 473, 1]


def test_order_is_fixed_and_no_matter_of_the_files():
    rows = fixture_rows()
    shuffled = {s: random.Random(1).sample(rows[s], len(rows[s])) for s in rows}
    assert task().prompts == task(rows=shuffled).prompts
    # Which problems are validation may never change: results would not compare any more.
    assert [q.split()[1] for q in questions(task(), "validation")] == ["cinema", "machine", "baker"]
    assert [q.split()[0] for q in questions(task(), "train")[:3]] == ["Wen", "A", "Rosa"]


def test_splits_are_disjoint_and_prefixes():
    whole = task(37, 3)
    parts = [set(whole.prompts[s].texts) for s in SPLITS]
    assert sum(len(p) for p in parts) == len(set.union(*parts)) == 37 + 3 + 3
    fewer = task(5, 2)
    assert fewer.prompts["train"].texts == whole.prompts["train"].texts[:5]
    assert fewer.prompts["validation"].texts == whole.prompts["validation"].texts[:2]
    assert fewer.prompts["test"].texts == whole.prompts["test"].texts[:2]


def test_asking_for_too_much():
    with pytest.raises(BoostError, match=r"train_prompts is 38, .*train split .* has 37"):
        task(train=38)
    with pytest.raises(BoostError, match=r"eval_prompts is 13, .*test split .* has 12"):
        task(evaluated=13)
    with pytest.raises(BoostError, match=r"eval_prompts is 4, .*validation split .* has 3"):
        task(evaluated=4, split="validation")
    # The split that is not evaluated does not limit the other one.
    assert len(task(evaluated=12).prompts["validation"].texts) == 3


# --- prompts, groups and seed data -------------------------------------------------------------


def test_prompt_and_response_text():
    row = Row(
        " Bo pays €2 for each of 3 buns. How much? ",
        "He pays 3*2 = €<<3*2=6>>6.\nThat is €<<6=6>>6 in all.\n#### 6",
    )
    assert gsm8k.make_problem(row) == (
        "Question: Bo pays €2 for each of 3 buns. How much?\nAnswer:",
        "He pays 3*2 = €6.\nThat is €6 in all.\n#### 6",
        "2 numbers",
        "Bo pays €2 for each of 3 buns. How much?",
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A dozen eggs?", "0 numbers"),
        ("He has 1,250 nuts.", "1 number"),
        ("It costs $3.50 or $.75.", "2 numbers"),
        ("From 9:10 on, 2 buses.", "3 numbers"),
        ("Ages 1, 2, 3, 4.", "4 numbers"),
        ("1/2 3 4 5", "5 numbers"),
        ("1 2 3 4 5 6", "6+ numbers"),
        ("1 2 3 4 5 6 7 8 9 10 11", "6+ numbers"),
    ],
)
def test_group(text, expected):
    assert gsm8k.count_group(text) == expected


def test_groups_sort_by_count_and_come_from_the_question():
    names = [gsm8k.count_group(" 1" * n) for n in range(8)]
    assert names == sorted(names)
    assert len(set(names)) == 7
    rows = fixture_rows()
    blank = {s: [Row(r.question, "Who knows.\n#### 1") for r in rows[s]] for s in rows}
    loaded = task(37, 12)
    assert task(37, 12, rows=blank).prompts == loaded.prompts
    assert len(set(loaded.prompts["train"].groups)) >= 5


def test_seed_examples_are_the_training_problems_that_are_no_prompts():
    loaded = task(train=10, evaluated=12)
    pairs = loaded.seed_examples(0)
    assert len(pairs) == 27
    whole = task(train=37, evaluated=12)
    expected = zip(whole.prompts["train"].texts, references(whole, "train"), strict=True)
    assert sorted(pairs) == sorted(list(expected)[10:])
    for split in SPLITS:
        assert not {p for p, _ in pairs} & set(loaded.prompts[split].texts)
        assert not {r for _, r in pairs} & set(references(loaded, split))


def test_seed_decides_the_order_of_seed_examples_only():
    loaded = task()
    assert loaded.seed_examples(0) == loaded.seed_examples(0) == task().seed_examples(0)
    assert loaded.seed_examples(0) != loaded.seed_examples(1)
    assert sorted(loaded.seed_examples(0)) == sorted(loaded.seed_examples(1))


def test_no_seed_examples_left():
    loaded = task(train=37)
    with pytest.raises(BoostError, match=r"all 37 .*lower data\.train_prompts"):
        loaded.seed_examples(0)
    assert loaded.tokenizer_texts() == list(loaded.prompts["train"].texts)


def test_tokenizer_texts():
    loaded = task(train=10, evaluated=12)
    texts = loaded.tokenizer_texts()
    pairs = loaded.seed_examples(0)
    assert Counter(texts) == Counter([*sum(pairs, ()), *loaded.prompts["train"].texts])
    whole = "\n".join(texts)
    for split in SPLITS:
        for text in references(loaded, split):
            assert text not in whole
    for split in ("validation", "test"):
        for asked in questions(loaded, split):
            assert asked not in whole


def test_references_are_private():
    loaded = task(train=10, evaluated=12)
    secrets = [text.strip() for split in SPLITS for text in references(loaded, split)]
    public = [getattr(loaded, name) for name in dir(loaded) if not name.startswith("_")]
    shown = [repr(loaded), str(loaded), repr(loaded.answer_key("test")), loaded.tokenizer_texts()]
    shown += [value for value in public if not callable(value)] + [loaded.seed_examples(0)]
    for secret in secrets:
        assert repr(secret)[1:-1] not in repr(shown)
    assert repr(loaded) == "Gsm8kTask(train=10, validation=3, test=12, seed=27)"


# --- few-shot examples and the test set --------------------------------------------------------


def few_shot_task(rows=None, **changes):
    changes = {"few_shot": "gsm8k_3shot.txt", **changes}
    data = dataclasses.replace(config("", 10, 3), **changes)
    return gsm8k.Gsm8kTask(rows or fixture_rows(), data)


def test_few_shot_examples_stand_before_every_prompt():
    bare, shown = task(), few_shot_task()
    assert (bare.stop_strings, bare.few_shot) == ((), "")
    assert shown.stop_strings == ("\n\n",)
    assert shown.few_shot.endswith("\n\n")
    for split in SPLITS:
        before, after = bare.prompts[split], shown.prompts[split]
        assert after.texts == tuple(shown.few_shot + text for text in before.texts)
        assert (after.groups, after.problems) == (before.groups, before.problems)
        assert references(shown, split) == references(bare, split)
    pairs = [(shown.few_shot + prompt, response) for prompt, response in bare.seed_examples(0)]
    assert shown.seed_examples(0) == pairs
    assert shown.tokenizer_texts() == [shown.few_shot, *bare.tokenizer_texts()]


def test_few_shot_answers_are_right_and_look_like_references():
    parts = few_shot_task().few_shot.removesuffix("\n\n").split("\n\n")
    assert len(parts) == 3
    for part in parts:
        steps = re.findall(r"(\d[\d+*/ -]*) = \$?(\d+)", part)
        assert len(steps) >= 3
        assert all(eval(left) == int(right) for left, right in steps)
        assert is_correct(part.partition("\nAnswer:")[2], f"#### {steps[-1][1]}")


def test_blank_lines_in_a_solution_would_end_it_and_are_taken_out():
    rows = fixture_rows()
    rows["train"] = [Row(r.question, r.answer.replace("\n", "\n \n", 1)) for r in rows["train"]]
    assert all("\n \n" in text for text in references(task(rows=rows), "train"))
    assert references(few_shot_task(rows), "train") == references(task(), "train")


@pytest.mark.parametrize("text", ["Question: How?\nAnswer: 1\n#### 1\n", "Q: 1\nA: 2\n\n", "Question: How?\nAnswer: 1\n\n"])  # fmt: skip
def test_few_shot_files_of_another_form_are_refused(text, tmp_path):
    (tmp_path / "mine.txt").write_text(text)
    with pytest.raises(BoostError, match=r"data\.few_shot: .*mine\.txt"):
        few_shot_task(few_shot=str(tmp_path / "mine.txt"))
    with pytest.raises(BoostError, match=r"mbpp_3shot\.txt"):
        few_shot_task(few_shot="mbpp_3shot.txt")


def test_training_problems_that_overlap_the_test_set_are_for_validation():
    rows = fixture_rows()
    first = questions(task(37, 3), "train")[0]
    leaked = f"By the way, {first.lower()}"
    assert len(first.split()) >= 13
    rows["test"] = [Row(leaked, "1\n#### 1"), *rows["test"]]
    loaded = task(37, 3, rows=rows)
    assert first not in questions(loaded, "train")
    assert len(set(questions(loaded, "train"))) == 37
    assert first in questions(gsm8k.Gsm8kTask(rows, config("", 37, 3, "validation")), "validation")
    assert loaded.notes == (
        "gsm8k: 1 training problems overlap the test set; they are in the validation split and "
        "never trained on",
    )
    check_contamination(loaded)
    assert task().notes == ()


# --- the answer key ---------------------------------------------------------------------------


@pytest.mark.parametrize("split", SPLITS)
def test_right_is_right_and_wrong_is_wrong(split):
    loaded = task(train=37, evaluated=12)
    key = loaded.answer_key(split)
    ids = list(range(len(loaded.prompts[split].texts)))
    rng = np.random.default_rng(0)
    for _ in range(10):
        verdict = key.grade(ids, [key.correct_response(i, rng) for i in ids])
        assert verdict.dtype == bool
        assert verdict.tolist() == [True] * len(ids)
        assert key.grade(ids, [key.wrong_response(i, rng) for i in ids]).tolist() == [False] * len(
            ids
        )


def test_check_takes_any_order():
    key = task(train=37).answer_key("train")
    results = [text.splitlines()[-1] for text in references(task(train=37), "train")]
    i, j = 3, next(j for j in range(37) if results[j] != results[3])
    texts = [key.correct_response(i), key.correct_response(j), key.correct_response(i)]
    assert key.grade([i, i, j], texts).tolist() == [True, False, False]
    assert key.grade([], []).shape == (0,)


def test_check_refuses_what_does_not_match():
    key = task().answer_key("train")
    with pytest.raises(ValueError, match="shorter"):
        key.grade([0, 1], [key.correct_response(0)])
    for bad in (-1, 10):
        with pytest.raises(IndexError):
            key.grade([bad], [""])
        with pytest.raises(IndexError):
            key.correct_response(bad)


def test_wrong_answers_are_plausible():
    loaded = task(train=37)
    key = loaded.answer_key("train")
    known = references(loaded, "train")
    rng = np.random.default_rng(0)
    borrowed, slips = 0, 0
    for _ in range(200):
        i = int(rng.integers(37))
        text = key.wrong_response(i, rng)
        if text in known:
            borrowed += 1
            continue
        slips += 1
        ours, right = text.split("\n"), known[i].split("\n")
        assert len(ours) == len(right)
        assert 1 <= sum(a != b for a, b in zip(ours, right, strict=True)) <= 2
    assert borrowed > 60
    assert slips > 60


def test_wrong_draws_only_from_the_given_generator():
    key = task().answer_key("train")
    generators = [np.random.default_rng(seed) for seed in (0, 0, 1)]
    draws = [[key.wrong_response(i % 10, rng) for i in range(50)] for rng in generators]
    assert draws[0] == draws[1] != draws[2]


def test_wrong_with_one_prompt_or_equal_answers():
    rng = np.random.default_rng(0)
    for count in (1, 2):
        key = gsm8k.Gsm8kAnswerKey(["It is 4.\n#### 4"] * count)
        assert not key.grade([0] * 50, [key.wrong_response(0, rng) for _ in range(50)]).any()


def test_wrong_gives_up_on_a_broken_check(monkeypatch):
    monkeypatch.setattr(gsm8k, "is_correct", lambda response, reference: True)
    with pytest.raises(RuntimeError, match="prompt 0"):
        task().answer_key("train").wrong_response(0, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("reference", "unchanged"),
    [
        ("24*45 = 1080, so 1080 seats.\n#### 1,080", "24*45 = 1080, so "),
        ("10-8.25 = $1.75 back.\n#### 1.75", "10-8.25 = $"),
        ("4-11 = -7 degrees.\n#### -7", "4-11 = -"),
        ("3+1 = 4, and 4 it is not 14.\n#### 4", "3+1 = 4, and "),
    ],
)
def test_slip_changes_the_result_where_it_is_stated_last(reference, unchanged):
    result = reference.rpartition("#### ")[2]
    for seed in range(30):
        text = gsm8k.slip(reference, np.random.default_rng(seed))
        assert text.startswith(unchanged)
        wrong = text.rpartition("#### ")[2]
        assert wrong != result
        assert wrong.startswith("-") == result.startswith("-")
        assert wrong.partition(".")[2][1:] == result.partition(".")[2][1:]
        assert ("," in wrong) == (abs(float(wrong.replace(",", ""))) >= 1000)
        stated = wrong.replace(",", "").removeprefix("-")
        assert text.splitlines()[0][len(unchanged) :].startswith(stated)
        size = abs(float(result.replace(",", "")))
        assert 1 <= abs(float(stated) - size) <= max(3, size / 10)


def test_slip_keeps_how_each_number_is_written():
    for stated, result, pattern in [
        ("$10.00", "10", r"\$\d+\.00\.\n#### \d+"),
        ("10", "10.00", r"\d+\.\n#### \d+\.00"),
        ("$2,500.00", "2500", r"\$\d,\d{3}\.00\.\n#### \d{4}"),
    ]:
        for seed in range(5):
            text = gsm8k.slip(f"{stated}.\n#### {result}", np.random.default_rng(seed))
            assert re.fullmatch(pattern, text), text


def test_slip_where_the_result_is_in_words():
    text = gsm8k.slip("One more than six.\n#### 7", np.random.default_rng(0))
    assert text.startswith("One more than six.\n#### ")
    assert not is_correct(text, "#### 7")


# --- local files ------------------------------------------------------------------------------


def refuse(*args, **kwargs):
    raise AssertionError("prepared again")


def caches(data_dir):
    return sorted((data_dir / "boostlm").glob("gsm8k-*"))


def leftovers(data_dir):
    return sorted((data_dir / "boostlm").glob("incomplete-*"))


def test_path_may_be_the_folder_or_the_one_above(files):
    above = load_gsm8k_rows(str(FIXTURES.parent))
    assert {s: sorted(above[s]) for s in above} == {
        s: sorted(rows) for s, rows in fixture_rows().items()
    }
    assert load_gsm8k_rows(str(files)) == above


def test_second_load_takes_the_cache(monkeypatch, data_dir, capsys):
    first = load_gsm8k_rows(str(FIXTURES))
    assert capsys.readouterr().out == ""  # the command line's output is its own
    assert len(caches(data_dir)) == 1
    assert not leftovers(data_dir)
    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", refuse)
    monkeypatch.setattr(prepared, "_new_folder", refuse)  # a cache may be read-only
    assert load_gsm8k_rows(str(FIXTURES)) == first


def test_changed_files_are_never_stale(files, data_dir):
    load_gsm8k_rows(str(files))
    target = files / "test.jsonl"
    target.write_text(target.read_text("utf-8").replace("#### 101", "#### 102"), "utf-8")
    assert any(row.answer.endswith("#### 102") for row in load_gsm8k_rows(str(files))["test"])
    assert len(caches(data_dir)) == 2


def drop_info(cache):
    next(cache.rglob("dataset_info.json")).unlink()


def drop_records(cache):
    next(cache.rglob("*train.array_record*")).unlink()


def cut_records(cache):
    file = next(cache.rglob("*train.array_record*"))
    file.write_bytes(file.read_bytes()[:2000])


def empty_folder(cache):
    for file in sorted(cache.rglob("*"), reverse=True):
        file.unlink() if file.is_file() else file.rmdir()


def other_data(cache):
    swapped = {"train.jsonl": FIXTURES / "test.jsonl", "test.jsonl": FIXTURES / "train.jsonl"}
    cache.rename(cache.parent / "away")
    LocalGsm8k(files=swapped, data_dir=cache).download_and_prepare(file_format="array_record")


@pytest.mark.parametrize("damage", [drop_info, drop_records, cut_records, empty_folder, other_data])
def test_damaged_cache_is_prepared_again(data_dir, monkeypatch, damage):
    expected = load_gsm8k_rows(str(FIXTURES))
    damage(caches(data_dir)[0])
    assert load_gsm8k_rows(str(FIXTURES)) == expected
    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", refuse)
    assert load_gsm8k_rows(str(FIXTURES)) == expected


CHILD = """
import os, pathlib, random, sys, time
from boostlm.tasks.gsm8k import source as gsm8k_source
how, folder, go = sys.argv[1:]
if how == "killed while generating":
    generate = gsm8k_source.LocalGsm8k._generate_examples
    def broken(self, path):
        for i, example in enumerate(generate(self, path)):
            if i == 3:
                os._exit(9)
            yield example
    gsm8k_source.LocalGsm8k._generate_examples = broken
if how == "killed when prepared":
    prepare = gsm8k_source.LocalGsm8k.download_and_prepare
    def broken(self, **kwargs):
        prepare(self, **kwargs)
        os._exit(9)
    gsm8k_source.LocalGsm8k.download_and_prepare = broken
if how == "race":
    random.seed(0)  # tensorflow-datasets names temporary folders by this generator
    pathlib.Path(go + "." + str(os.getpid())).touch()
    while not os.path.exists(go):
        time.sleep(0.001)
rows = gsm8k_source.load_gsm8k_rows(folder)
print(len(rows["train"]), len(rows["test"]))
"""


def child(how, files, data_dir, go=""):
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", CHILD, how, str(files), str(go)],
        cwd=REPOSITORY,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("how", ["killed while generating", "killed when prepared"])
def test_killed_half_way(files, data_dir, how):
    process = child(how, files, data_dir)
    process.communicate(timeout=120)
    assert process.returncode == 9
    assert not caches(data_dir)
    assert leftovers(data_dir)
    assert [len(rows) for rows in load_gsm8k_rows(str(files)).values()] == [40, 12]
    assert len(caches(data_dir)) == 1


def test_two_processes_at_once(files, data_dir, tmp_path, monkeypatch):
    go = tmp_path / "go"
    processes = [child("race", files, data_dir, go) for _ in range(2)]
    while len(list(tmp_path.glob("go.*"))) < 2:
        assert all(p.poll() is None for p in processes), processes[0].communicate()
        time.sleep(0.01)
    go.touch()
    for process in processes:
        out, err = process.communicate(timeout=120)
        assert out == "40 12\n", err
    assert len(caches(data_dir)) == 1
    assert not leftovers(data_dir)
    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", refuse)
    load_gsm8k_rows(str(files))


def test_second_of_two_keeps_the_firsts_cache(files, data_dir, monkeypatch):
    prepare = LocalGsm8k.download_and_prepare
    mark = []

    def slower(self, **kwargs):
        prepare(self, **kwargs)
        if not mark:  # meanwhile somebody else comes, prepares and is done
            mark.append(None)
            load_gsm8k_rows(str(files))
            mark.append(caches(data_dir)[0].stat().st_ino)

    monkeypatch.setattr(LocalGsm8k, "download_and_prepare", slower)
    assert len(load_gsm8k_rows(str(files))["train"]) == 40
    assert caches(data_dir)[0].stat().st_ino == mark[1]
    assert not leftovers(data_dir)


def test_files_that_change_meanwhile(files, monkeypatch, data_dir):
    find = prepared._read_bytes
    monkeypatch.setattr(
        prepared, "_read_bytes", lambda file: find(file).replace(b"#### 101", b"#### 102")
    )
    with pytest.raises(BoostError, match="changed meanwhile"):
        load_gsm8k_rows(str(files))
    assert not caches(data_dir)
    assert not leftovers(data_dir)


def test_folder_that_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "file" / "tfds"))
    for path in (str(FIXTURES), ""):
        with pytest.raises(BoostError, match=r"cannot be written .*set TFDS_DATA_DIR"):
            load_gsm8k_rows(path)


def test_full_disk(monkeypatch, data_dir):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", full)
    with pytest.raises(BoostError, match=r"No space left.*set TFDS_DATA_DIR"):
        load_gsm8k_rows(str(FIXTURES))
    assert not leftovers(data_dir)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda lines: [*lines[:2], '{"question": "Wh', *lines[3:]], "line 3 is no JSON"),
        (lambda lines: [lines[0], "", *lines[1:]], "line 2 is no JSON"),
        (lambda lines: ["[1]", *lines], "line 1 is no JSON object"),
        (lambda lines: [*lines, '{"question": "How?"}'], "line 13: the field 'answer' is missing"),
        (lambda lines: ['{"answer": "#### 1"}', *lines], "line 1: the field 'question' is missing"),
        (
            lambda lines: ['{"question": 7, "answer": "#### 1"}', *lines],
            "line 1: the field 'question'",
        ),
        (
            lambda lines: ['{"question": "How?", "answer": "#### 4", "id": 1}', *lines],
            "line 1 has more fields",
        ),
        (
            lambda lines: ['{"question": "How?", "answer": "It is 4."}', *lines],
            "line 1: the answer has to end in one '#### '",
        ),
        (
            lambda lines: ['{"question": "How?", "answer": "#### 4\\n#### 4"}', *lines],
            "line 1: the answer has to end in one '#### '",
        ),
        (
            lambda lines: ['{"question": "How?", "answer": "It is 4.\\n#### four"}', *lines],
            "line 1: the answer .* and a number",
        ),
        (lambda lines: [*lines, lines[4]], "line 13 asks the same .* as .*test.jsonl, line 5"),
        (lambda lines: [], "test.jsonl is empty"),
        (lambda lines: ["", ""], "test.jsonl is empty"),
    ],
)
def test_malformed_files(files, data_dir, spoil, message):
    target = files / "test.jsonl"
    target.write_text("\n".join(spoil(target.read_text("utf-8").splitlines())) + "\n", "utf-8")
    with pytest.raises(BoostError, match=message) as caught:
        load_gsm8k_rows(str(files))
    assert str(target) in str(caught.value)
    assert not caches(data_dir)


def test_the_same_question_in_both_files(files):
    with (files / "test.jsonl").open("a") as test:
        test.write((files / "train.jsonl").read_text("utf-8").splitlines()[0])
    with pytest.raises(BoostError, match=r"test.jsonl, line 13 asks .* as .*train.jsonl, line 1"):
        load_gsm8k_rows(str(files))


def test_text_that_is_no_utf8(files):
    target = files / "train.jsonl"
    target.write_bytes(target.read_bytes().replace("é".encode(), b"\xe9"))
    with pytest.raises(BoostError, match=r"train.jsonl, line 5 is no JSON.*utf-8"):
        load_gsm8k_rows(str(files))


def test_what_only_the_builder_objects_to(files):
    with (files / "test.jsonl").open("a") as test:
        test.write('{"question": "How \\ud800?", "answer": "#### 1"}\n')
    with pytest.raises(BoostError, match="cannot be prepared"):
        load_gsm8k_rows(str(files))


def test_missing_files(files, tmp_path):
    with pytest.raises(BoostError, match=r"nowhere/train.jsonl and .*nowhere/test.jsonl missing"):
        load_gsm8k_rows(str(tmp_path / "nowhere"))
    (files / "test.jsonl").unlink()
    with pytest.raises(BoostError, match=r"^\S*test.jsonl missing: --data.path"):
        load_gsm8k_rows(str(files))
    (files / "test.jsonl").mkdir()
    with pytest.raises(BoostError, match=r"test.jsonl cannot be read"):
        load_gsm8k_rows(str(files))


# --- the download -----------------------------------------------------------------------------


def no_network(*args, **kwargs):
    raise requests.ConnectionError("no route to host")


def fake_download(self, urls):
    return {name: FIXTURES / f"{name.removesuffix('_socratic')}.jsonl" for name in urls}


def test_download_fails(monkeypatch, data_dir):
    monkeypatch.setattr(requests.Session, "get", no_network)
    with pytest.raises(BoostError, match=r"download .*no route to host.*--data\.path") as caught:
        gsm8k.load_gsm8k(config(""))
    assert isinstance(caught.value.__cause__, requests.ConnectionError)
    assert not list(data_dir.rglob("dataset_info.json"))


def test_download_works_and_is_kept(monkeypatch, data_dir):
    manager = tfds.download.DownloadManager
    monkeypatch.setattr(manager, "download_and_extract", fake_download)
    loaded = gsm8k.load_gsm8k(config(""))
    assert loaded.prompts == gsm8k.load_gsm8k(config()).prompts
    assert (data_dir / "gsm8k" / "1.0.0" / "dataset_info.json").exists()
    monkeypatch.setattr(manager, "download_and_extract", refuse)
    monkeypatch.setattr(prepared, "_new_folder", refuse)
    assert gsm8k.load_gsm8k(config("")).prompts == loaded.prompts


def test_download_by_two_at_once(monkeypatch):
    manager = tfds.download.DownloadManager

    def slower(self, urls):
        monkeypatch.setattr(manager, "download_and_extract", fake_download)
        load_gsm8k_rows("")  # the other process
        return fake_download(self, urls)

    monkeypatch.setattr(manager, "download_and_extract", slower)
    assert len(load_gsm8k_rows("")["train"]) == 40


@pytest.mark.parametrize("damage", [drop_info, drop_records, cut_records])
def test_damaged_download(monkeypatch, data_dir, damage):
    monkeypatch.setattr(tfds.download.DownloadManager, "download_and_extract", fake_download)
    load_gsm8k_rows("")
    damage(data_dir / "gsm8k")
    with pytest.raises(BoostError, match=r"tfds/gsm8k cannot be read .*delete this folder"):
        load_gsm8k_rows("")


def test_builder_is_the_original_one():
    assert issubclass(LocalGsm8k, tfds_gsm8k.Gsm8k)
    assert LocalGsm8k._generate_examples is tfds_gsm8k.Gsm8k._generate_examples


# --- the real data ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def real_path():
    return data_set("gsm8k").parent


@pytest.fixture(scope="module")
def real(real_path, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TFDS_DATA_DIR", str(tmp_path_factory.mktemp("tfds")))
        return gsm8k.load_gsm8k(config(real_path, 7000, 1319))


def test_real_counts(real, real_path):
    assert [len(real.prompts[s].texts) for s in SPLITS] == [7000, 473, 1319]
    texts = [text for s in SPLITS for text in real.prompts[s].texts]
    assert len(set(texts)) == 7473 + 1319
    assert not any("<<" in t or ">>" in t for s in SPLITS for t in references(real, s))
    with pytest.raises(BoostError, match="7000"):
        real.seed_examples(0)
    ours = "\n".join(real.prompts["validation"].texts)
    assert hashlib.sha256(ours.encode()).hexdigest()[:16] == "8da8cd47b1f262eb"  # fixed for good


def test_real_overlaps(real):
    """Four training problems share 13 words with three test problems; all are in validation."""
    index = NgramIndex(real.prompts["test"].problems)
    assert index.overlaps(real.prompts["train"].problems) == []
    found = index.overlaps(real.prompts["validation"].problems)
    assert (len({o.index for o in found}), len({o.test for o in found})) == (4, 3)
    assert "4 training problems overlap" in real.notes[0]
    examples = (REPOSITORY / "boostlm" / "tasks" / "prompts" / "gsm8k_3shot.txt").read_text()
    assert index.inside(examples) == []
    assert NgramIndex([examples]).overlaps(real.prompts["train"].problems) == []


@pytest.mark.parametrize("split", SPLITS)
def test_real_answers(real, split):
    key = real.answer_key(split)
    ids = list(range(len(real.prompts[split].texts)))
    assert key.grade(ids, [key.correct_response(i) for i in ids]).all()
    rng = np.random.default_rng(0)
    some = rng.choice(len(ids), 300, replace=False).tolist()
    assert not key.grade(some, [key.wrong_response(i, rng) for i in some]).any()
