"""The embedded task and the tokenizer; only the labeler and the verifier see references."""

import inspect
import itertools
import os
import random
from collections import Counter

import numpy as np
import pytest
from support.runs import on_one_device, tiny_config

from boostlm.config import SPLITS, DataConfig, TokenizerConfig
from boostlm.engine.tokenizer import PAD_ID, Tokenizer, train_tokenizer
from boostlm.errors import BoostError
from boostlm.experiment.context import make_context
from boostlm.experiment.run import planned_stages, run_experiment
from boostlm.runtime.progress import Progress
from boostlm.storage.run_dir import RunDir
from boostlm.tasks.base import Task
from boostlm.tasks.registry import load_task
from boostlm.tasks.skills import SEED_EXAMPLES, SKILLS, SkillsTask

DATA = DataConfig(train_prompts=120, eval_prompts=61)


@pytest.fixture(scope="module")
def task():
    return SkillsTask(DATA)


def parsed(prompt):
    skill, given = prompt.split(" ")
    return skill, given.removesuffix("=")


# A second implementation of the skills.
MEANING = {
    "copy": lambda s: s,
    "reverse": lambda s: "".join(reversed(s)),
    "rotate": lambda s: "".join(s[(i + 1) % 5] for i in range(5)),
    "next": lambda s: "".join("bcdefghija"["abcdefghij".index(c)] for c in s),
    "sort": lambda s: "".join(c for letter in "abcdefghij" for c in s if c == letter),
    "add": lambda s: f"{sum(int(part) for part in s.split('+'))}",
    "ends": lambda s: "".join(s[i] for i in (4, 1, 2, 3, 0)),
    "back": lambda s: "".join(s[i - 1] for i in range(5)),
    "twice": lambda s: "".join(s[i // 2] for i in range(5)),
    "prior": lambda s: "".join("jabcdefghi"["abcdefghij".index(c)] for c in s),
    "mirror": lambda s: "".join("jihgfedcba"["abcdefghij".index(c)] for c in s),
    "down": lambda s: "".join(c for letter in "jihgfedcba" for c in s if c == letter),
}


def test_six_skills_are_taught_and_six_are_not():
    assert set(SKILLS) == set(MEANING)
    assert len([s for s in SKILLS.values() if s.taught > 0.8]) == 6
    assert len([s for s in SKILLS.values() if s.taught < 0.1]) == 6


def test_splits_have_the_right_sizes_and_no_duplicates(task):
    sizes = [len(task.prompts[split].texts) for split in SPLITS]
    assert sizes == [120, 61, 61]
    seed = [prompt for prompt, _ in task.seed_examples(0)]
    assert len(seed) == SEED_EXAMPLES
    everything = [*seed, *itertools.chain(*(task.prompts[s].texts for s in SPLITS))]
    assert len(set(everything)) == len(everything)


def test_prompts_are_the_same_in_every_process_and_for_every_seed(task):
    again = load_task(DATA)
    assert again.prompts == task.prompts
    assert again.seed_examples(0) == task.seed_examples(0)
    assert again.seed_examples(1) != task.seed_examples(0)
    assert [p for p, _ in again.seed_examples(1)] == [p for p, _ in task.seed_examples(0)]


def test_groups_are_the_skills_with_equal_sizes(task):
    for split in SPLITS:
        prompts = task.prompts[split]
        assert prompts.groups == tuple(parsed(text)[0] for text in prompts.texts)
        counts = Counter(prompts.groups)
        assert set(counts) == set(SKILLS)
        assert max(counts.values()) - min(counts.values()) <= 1


@pytest.mark.parametrize("split", SPLITS)
def test_correct_responses_pass_and_wrong_responses_fail(task, split):
    key, texts = task.answer_key(split), task.prompts[split].texts
    rng = np.random.default_rng(1)
    ids = list(range(len(texts))) * 200
    right = [key.correct_response(i, rng) for i in ids]
    wrong = [key.wrong_response(i, rng) for i in ids]
    assert key.grade(ids, right).all()
    assert not key.grade(ids, wrong).any()
    for i, answer in list(zip(ids, right))[: len(texts)]:
        skill, given = parsed(texts[i])
        assert answer == MEANING[skill](given)
    assert all(len(w) == len(r) for w, r in zip(wrong, right) if not r.isdigit() and r)


def test_wrong_responses_vary_and_most_are_another_skills_answer(task):
    key, texts = task.answer_key("train"), task.prompts["train"].texts
    rng = np.random.default_rng(2)
    others = 0
    for i, text in enumerate(texts):
        skill, given = parsed(text)
        drawn = [key.wrong_response(i, rng) for _ in range(30)]
        assert len(set(drawn)) > 3
        if skill != "add":
            mistakes = {MEANING[s](given) for s in MEANING if s not in ("add", skill)}
            others += np.mean([w in mistakes for w in drawn])
    assert others / len(texts) > 0.8


def test_grading_is_exact(task):
    key = task.answer_key("train")
    right = key.correct_response(0)
    given = [right, right + " ", right[:-1], right.upper(), ""]
    assert key.grade([0] * 5, given).tolist() == [True, False, False, False, False]
    assert key.grade([], []).dtype == bool
    with pytest.raises(ValueError):
        key.grade([0, 1], [right])


def test_seed_examples_are_correct_as_often_as_taught(task):
    for seed in (0, 1):
        right = {name: [] for name in SKILLS}
        for prompt, answer in task.seed_examples(seed):
            skill, given = parsed(prompt)
            right[skill].append(MEANING[skill](given) == answer)
        for name, verdicts in right.items():
            taught, n = SKILLS[name].taught, len(verdicts)
            assert n == pytest.approx(SEED_EXAMPLES / 12, abs=1)
            assert np.mean(verdicts) == pytest.approx(taught, abs=4 * (taught * (1 - taught) / n) ** 0.5)  # fmt: skip


def test_too_many_prompts_are_rejected():
    with pytest.raises(BoostError, match=r"only 8100 inputs .* lower data\.train_prompts"):
        SkillsTask(DataConfig(train_prompts=90_000))


# --- tokenizer --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tokenizer(task):
    return train_tokenizer(TokenizerConfig(), task.tokenizer_texts())


def test_every_text_of_the_task_survives_a_round_trip(task, tokenizer):
    rng = np.random.default_rng(0)
    texts = [text for split in SPLITS for text in task.prompts[split].texts]
    texts += [task.answer_key("train").wrong_response(i % 120, rng) for i in range(500)]
    texts += [answer for _, answer in task.seed_examples(0)[:500]]
    for text in texts:
        assert tokenizer.decode(tokenizer.encode(text)) == text
    assert max(len(tokenizer.encode_prompt(t)) for t in texts) <= DataConfig().max_prompt_tokens


@pytest.mark.parametrize("kind", ["char", "bpe", "unigram"])
def test_spaces_and_line_breaks_survive_a_round_trip(kind):
    texts = ["Question: how many  apples?\n\nAnswer: 12 + 30 = 42", " a\n b ", "\n", "  "]
    tokenizer = train_tokenizer(TokenizerConfig(kind, 300), texts * 20)
    for text in [*texts, "ma ny", "\n\n  \n", "12340", ""]:
        assert tokenizer.decode(tokenizer.encode(text)) == text
    assert tokenizer.decode([]) == ""


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_unseen_characters_fall_back_to_bytes(kind):
    tokenizer = train_tokenizer(TokenizerConfig(kind, 300), ["some words", "and more words"] * 20)
    rng = random.Random(0)
    for text in ["é∑🙂", *("".join(chr(rng.randrange(32, 0x2000)) for _ in range(20)) for _ in range(50))]:  # fmt: skip
        assert tokenizer.decode(tokenizer.encode(text)) == text


def test_special_tokens_are_in_the_right_places(tokenizer):
    bos, eos = tokenizer.bos_id, tokenizer.eos_id
    assert len({PAD_ID, bos, eos}) == 3
    prompt, response = tokenizer.encode_prompt("copy abc="), tokenizer.encode_response("abc")
    assert prompt.count(bos) == 1
    assert prompt[0] == bos
    assert eos not in prompt
    assert response.count(eos) == 1
    assert response[-1] == eos
    assert not {bos, PAD_ID} & set(response)
    assert tokenizer.decode([bos, *response, PAD_ID, PAD_ID]) == "abc"
    assert max(prompt + response) < tokenizer.vocab_size <= 64


def test_the_error_for_an_unknown_character_names_the_text(tokenizer):
    for text in ("copy xyz!=", "é", "a\u2581b"):
        with pytest.raises(BoostError, match=f"cannot represent {text!r}"):
            tokenizer.encode_prompt(text)


def test_the_same_texts_give_the_same_tokenizer_and_it_can_be_saved(task, tokenizer):
    again = train_tokenizer(TokenizerConfig(), task.tokenizer_texts())
    assert again.model == tokenizer.model
    assert Tokenizer(tokenizer.model).encode("sort badce=") == tokenizer.encode("sort badce=")


def test_a_tokenizer_that_cannot_be_trained_is_rejected():
    with pytest.raises(BoostError, match="training the tokenizer failed"):
        train_tokenizer(TokenizerConfig("bpe", 8), ["some words"])


# --- who sees references ----------------------------------------------------------------------


class WatchedKey:
    """An answer key that records its callers inside the library."""

    def __init__(self, key, callers):
        self._key, self._callers = key, callers

    def __getattr__(self, name):
        found = getattr(self._key, name)

        def asked(*args):
            ours = [f for f in inspect.stack()[1:] if f"boostlm{os.sep}" in f.filename]
            named = [(os.path.basename(f.filename), f.function) for f in ours]
            # multihost.py only distributes the work among hosts.
            asking = [x for x in named if x[0] not in ("multihost.py",)]
            self._callers.add((name, *asking[0]))
            return found(*args)

        return asked


class WatchedTask(Task):
    """The skills task with watched keys. It also records who requests a key."""

    def __init__(self, data, callers):
        self._task, self._callers = SkillsTask(data), callers
        self.name, self.prompts = self._task.name, self._task.prompts
        self.seed_examples = self._task.seed_examples
        self.tokenizer_texts = self._task.tokenizer_texts

    def answer_key(self, split):
        caller = inspect.stack()[1]
        self._callers.add(("answer_key", os.path.basename(caller.filename), caller.function))
        return WatchedKey(self._task.answer_key(split), self._callers)


@pytest.mark.slow
def test_only_the_labeler_and_the_verifier_see_references(tmp_path):
    config, callers = tiny_config(arms=("boosting",), rounds=1), set()
    folder = RunDir(tmp_path)
    folder.create(config)
    ctx = make_context(config, folder, WatchedTask(config.data, callers))
    with open(os.devnull, "w") as out:
        run_experiment(on_one_device(ctx), folder, Progress(planned_stages(config), out))
    assert callers == {
        ("answer_key", "context.py", "grader"),
        ("answer_key", "registry.py", "make_labeler"),
        ("correct_response", "simulated.py", "label_one"),
        ("wrong_response", "simulated.py", "label_one"),
        ("grade", "stages.py", "grade"),
        ("grade", "labeling.py", "<lambda>"),
        ("grade", "evaluate.py", "grade_own"),
    }
