"""Contamination: which texts overlap, and how overlaps with the test set are reported."""

import dataclasses
import time

import numpy as np
import pytest
from support.runs import tiny_config

from boostlm.config import DataConfig
from boostlm.errors import BoostError
from boostlm.experiment.context import make_context
from boostlm.storage.run_dir import RunDir
from boostlm.tasks.base import Prompts, Task
from boostlm.tasks.contamination import (
    NgramIndex,
    check_contamination,
    check_seed_contamination,
    uncontaminated,
)
from boostlm.tasks.skills import SkillsTask

LONG = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen"
WORDS = LONG.split()


def pairs(texts, test):
    return [(o.index, o.test) for o in NgramIndex(test).overlaps(texts)]


@pytest.mark.parametrize(
    ("text", "overlaps"),
    [
        (LONG, True),
        (" ".join(WORDS[:13]), True),
        (" ".join(WORDS[:12]), False),  # fewer than 13 words are compared whole
        (" ".join(["zero", *WORDS[1:], "x"]), True),
        (" ".join([*WORDS[:12], "x", *WORDS[12:]]), False),
        (" ".join([*WORDS[:7], "x", *WORDS[7:]]), False),
        (LONG.upper().replace(" ", ",\n  ") + "!", True),
        ("One, two; three (four) 'five' six: seven? eight. nine* ten eleven twelve thirteen", True),
        (" ".join(reversed(WORDS)), False),
        ("", False),
    ],
)
def test_thirteen_shared_words_overlap_in_any_case_and_punctuation(text, overlaps):
    assert (pairs([text], [LONG]) == [(0, 0)]) == overlaps
    assert (pairs([LONG], [text]) == [(0, 0)]) == overlaps
    assert uncontaminated(["other", text], [LONG]) == [True, not overlaps]


@pytest.mark.parametrize(
    ("one", "two", "same"),
    [
        ("How much is it?", "how much  is it", True),
        ("How much is it?", "How much is it now?", False),
        ("3 + 4 =", "3 - 4 =", False),
        ("3*4=", "3/4=", False),
        ("12+34=", "1+234=", False),
        ("3 + 4 =", "3  + 4 =", True),
        ("?!", "...", False),
    ],
)
def test_short_texts_are_compared_whole_with_arithmetic_signs(one, two, same):
    assert bool(pairs([one], [two])) == same


def test_every_pair_is_found_once():
    texts, test = [LONG, "x", LONG + " x"], ["y", LONG + " a b", LONG]
    assert pairs(texts, test) == [(0, 1), (0, 2), (2, 1), (2, 2)]
    assert NgramIndex(test).overlaps(texts)[0].shared == " ".join(WORDS[:13])


class OwnTask(Task):
    """A task with the given problems."""

    name = "own"

    def __init__(self, train, test, few_shot="", template="{}"):
        self.few_shot = few_shot
        self.prompts = {
            split: Prompts(
                tuple(few_shot + template.format(p) for p in problems),
                ("all",) * len(problems),
                tuple(problems) if template != "{}" else (),
            )
            for split, problems in (("train", train), ("validation", ["v"]), ("test", test))
        }

    def answer_key(self, split):
        raise NotImplementedError


def test_overlap_is_rejected_with_pairs_and_counts():
    train = [f"{i} {LONG}" for i in range(7)] + ["fine"]
    with pytest.raises(BoostError) as caught:
        check_contamination(OwnTask(train, ["other", LONG]))
    said = str(caught.value)
    assert said.startswith("7 training problems of task own share 13 words")
    assert "1 test problems" in said
    assert "0 ('0 one two" in said
    assert f"and test 1 ('{LONG[:40]}...'): {' '.join(WORDS[:13])}" in said
    assert "and 2 more pairs" in said
    check_contamination(OwnTask(["fine"], ["other", LONG]))


def test_a_shared_template_is_ignored_if_problems_leave_it_out():
    template = LONG + " solve {} please"
    check_contamination(OwnTask(["a b", "c d"], ["e f"], template=template))
    with pytest.raises(BoostError, match="or equal, 1 test problems"):
        check_contamination(OwnTask(["a b", "e f"], ["e f"], template=template))


@pytest.mark.parametrize(
    ("few_shot", "refused"),
    [
        (f"Q: {LONG}\nA: 3\n\n", True),
        ("Q: what is the sum of a and b?\nA: 3\n\n", True),  # a short test problem occurs whole
        ("Q: what is the sum of a and c?\nA: 3\n\n", False),
        ("Q: a very different thing\nA: 3\n\n", False),
    ],
)
def test_few_shot_examples_contain_no_test_problem(few_shot, refused):
    task = OwnTask(["fine"], [LONG, "What is the sum of a and b?"], few_shot)
    if refused:
        with pytest.raises(BoostError, match=r"few-shot examples of task own.*\n.*\n.*few_shot"):
            check_contamination(task)
    else:
        check_contamination(task)


def test_seed_examples_contain_no_test_problem():
    task = OwnTask(["fine"], [LONG, "short one"], "Q: x\n\n")
    check_seed_contamination(task, ["Q: x\n\nfine", "Q: x\n\nother"])
    for bad in (f"Q: x\n\nso {LONG}", "Q: x\n\nShort one."):
        with pytest.raises(BoostError, match="1 seed examples of task own"):
            check_seed_contamination(task, ["fine", bad])


def test_the_embedded_task_is_not_contaminated():
    task = SkillsTask(DataConfig())
    check_contamination(task)
    check_seed_contamination(task, [prompt for prompt, _ in task.seed_examples(0)])


def test_a_run_with_a_contaminated_task_is_rejected(tmp_path):
    config = tiny_config()
    task = SkillsTask(config.data)
    train, test = task.prompts["train"], task.prompts["test"]
    leaked = dataclasses.replace(train, texts=(*train.texts[:-1], test.texts[3].upper()))
    task.prompts = {**task.prompts, "train": leaked}
    with pytest.raises(BoostError, match=r"1 training problems of task skills .*\n  23 .* test 3 "):
        make_context(config, RunDir(tmp_path), task)


def test_7000_training_problems_are_checked_against_1300_test_problems_quickly():
    rng = np.random.default_rng(0)
    texts = [" ".join(map(str, row)) for row in rng.integers(0, 3000, (8319, 46))]
    start = time.process_time()
    assert all(uncontaminated(texts[:7000], texts[7000:]))
    assert time.process_time() - start < 4  # about half a second on a quiet machine
