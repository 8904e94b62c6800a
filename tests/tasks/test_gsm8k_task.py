"""GSM8K: the splits, prompts, seed examples and few-shot examples."""

import dataclasses
import hashlib
import random
import re
from collections import Counter

import numpy as np
import pytest
from support.data_sets import REPOSITORY, data_set
from support.gsm8k import config, fixture_rows, questions, references, task

from boostlm.config import SPLITS
from boostlm.errors import BoostError
from boostlm.tasks.contamination import NgramIndex, check_contamination
from boostlm.tasks.gsm8k import task as gsm8k
from boostlm.tasks.gsm8k.source import Row
from boostlm.verifiers.number.final_answer import is_correct


@pytest.fixture(autouse=True)
def data_dir(tmp_path, monkeypatch):
    """A tensorflow-datasets folder for one test."""
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    return tmp_path / "tfds"


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


def test_order_is_fixed_and_independent_of_the_files():
    rows = fixture_rows()
    shuffled = {s: random.Random(1).sample(rows[s], len(rows[s])) for s in rows}
    assert task().prompts == task(rows=shuffled).prompts
    # The validation split must never change; otherwise results are no longer comparable.
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


def test_too_many_prompts_are_rejected():
    with pytest.raises(BoostError, match=r"train_prompts is 38, .*train split .* has 37"):
        task(train=38)
    with pytest.raises(BoostError, match=r"eval_prompts is 13, .*test split .* has 12"):
        task(evaluated=13)
    with pytest.raises(BoostError, match=r"eval_prompts is 4, .*validation split .* has 3"):
        task(evaluated=4, split="validation")
    # The split that is not evaluated does not limit the evaluated one.
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


def test_seed_examples_are_the_training_problems_that_are_not_prompts():
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


def test_few_shot_examples_precede_every_prompt():
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


def test_few_shot_answers_are_correct_and_look_like_references():
    parts = few_shot_task().few_shot.removesuffix("\n\n").split("\n\n")
    assert len(parts) == 3
    for part in parts:
        steps = re.findall(r"(\d[\d+*/ -]*) = \$?(\d+)", part)
        assert len(steps) >= 3
        assert all(eval(left) == int(right) for left, right in steps)
        assert is_correct(part.partition("\nAnswer:")[2], f"#### {steps[-1][1]}")


def test_blank_lines_in_a_solution_are_removed_because_they_end_a_response():
    rows = fixture_rows()
    rows["train"] = [Row(r.question, r.answer.replace("\n", "\n \n", 1)) for r in rows["train"]]
    assert all("\n \n" in text for text in references(task(rows=rows), "train"))
    assert references(few_shot_task(rows), "train") == references(task(), "train")


@pytest.mark.parametrize("text", ["Question: How?\nAnswer: 1\n#### 1\n", "Q: 1\nA: 2\n\n", "Question: How?\nAnswer: 1\n\n"])  # fmt: skip
def test_few_shot_files_with_another_format_are_rejected(text, tmp_path):
    (tmp_path / "mine.txt").write_text(text)
    with pytest.raises(BoostError, match=r"data\.few_shot: .*mine\.txt"):
        few_shot_task(few_shot=str(tmp_path / "mine.txt"))
    with pytest.raises(BoostError, match=r"mbpp_3shot\.txt"):
        few_shot_task(few_shot="mbpp_3shot.txt")


def test_training_problems_that_overlap_the_test_set_become_validation_problems():
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


# --- the real data ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def real_path():
    return data_set("gsm8k").parent


@pytest.fixture(scope="module")
def real(real_path, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TFDS_DATA_DIR", str(tmp_path_factory.mktemp("tfds")))
        return gsm8k.load_gsm8k(config(real_path, 7000, 1319))


@pytest.mark.slow
def test_real_counts(real, real_path):
    assert [len(real.prompts[s].texts) for s in SPLITS] == [7000, 473, 1319]
    texts = [text for s in SPLITS for text in real.prompts[s].texts]
    assert len(set(texts)) == 7473 + 1319
    assert not any("<<" in t or ">>" in t for s in SPLITS for t in references(real, s))
    with pytest.raises(BoostError, match="7000"):
        real.seed_examples(0)
    ours = "\n".join(real.prompts["validation"].texts)
    assert hashlib.sha256(ours.encode()).hexdigest()[:16] == "8da8cd47b1f262eb"  # must never change


@pytest.mark.slow
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


@pytest.mark.slow
@pytest.mark.parametrize("split", SPLITS)
def test_real_answers(real, split):
    key = real.answer_key(split)
    ids = list(range(len(real.prompts[split].texts)))
    assert key.grade(ids, [key.correct_response(i) for i in ids]).all()
    rng = np.random.default_rng(0)
    some = rng.choice(len(ids), 300, replace=False).tolist()
    assert not key.grade(some, [key.wrong_response(i, rng) for i in some]).any()
