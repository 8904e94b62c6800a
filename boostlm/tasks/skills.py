"""The embedded task: twelve small skills on letters and numbers.

A prompt names a skill and its input, such as "reverse fadbc="; the response is "cbdaf". The seed
data is mostly correct for six skills and mostly wrong for the other six. The seed model is
therefore good at six skills and fails the others, where labels can help.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from boostlm.config import DataConfig
from boostlm.errors import BoostError
from boostlm.tasks.base import Prompts, Task

LETTERS = "abcdefghij"
INPUT_LENGTH = 5
SEED_EXAMPLES = 12_000

_SPLIT_SEED = 20250211  # fixes the prompts, so that they do not depend on a run's seed


def _shift(text: str, by: int) -> str:
    return "".join(LETTERS[(LETTERS.index(c) + by) % len(LETTERS)] for c in text)


@dataclass(frozen=True)
class Skill:
    """One kind of prompt.

    Attributes:
      answer: maps the input to the correct response.
      taught: the fraction of correct seed examples.
      numbers: whether the input is two numbers instead of letters.
    """

    answer: Callable[[str], str]
    taught: float
    numbers: bool = False


def _add(text: str) -> str:
    left, right = text.split("+")
    return str(int(left) + int(right))


SKILLS: Mapping[str, Skill] = {
    "copy": Skill(lambda s: s, 0.9),
    "reverse": Skill(lambda s: s[::-1], 0.9),
    "rotate": Skill(lambda s: s[1:] + s[:1], 0.9),
    "next": Skill(lambda s: _shift(s, 1), 0.9),
    "sort": Skill(lambda s: "".join(sorted(s)), 0.9),
    "add": Skill(_add, 0.9, numbers=True),
    "ends": Skill(lambda s: s[-1] + s[1:-1] + s[0], 0.05),
    "back": Skill(lambda s: s[-1:] + s[:-1], 0.05),
    "twice": Skill(lambda s: s[0] * 2 + s[1] * 2 + s[2], 0.05),
    "prior": Skill(lambda s: _shift(s, -1), 0.05),
    "mirror": Skill(lambda s: s.translate(str.maketrans(LETTERS, LETTERS[::-1])), 0.05),
    "down": Skill(lambda s: "".join(sorted(s, reverse=True)), 0.05),
}
LETTER_SKILLS = tuple(name for name, skill in SKILLS.items() if not skill.numbers)


def skill_prompt(skill: str, given: str) -> str:
    """The prompt for a skill and its input."""
    return f"{skill} {given}="


def _corrupt(text: str, alphabet: str, rng: np.random.Generator) -> str:
    """`text` with one character changed."""
    place = int(rng.integers(len(text)))
    other = [c for c in alphabet if c != text[place]]
    return text[:place] + str(rng.choice(other)) + text[place + 1 :]


def wrong_answer(skill: str, given: str, rng: np.random.Generator) -> str:
    """A plausible mistake: another skill's answer, or the correct answer with a wrong character."""
    right = SKILLS[skill].answer(given)
    if SKILLS[skill].numbers:
        return _corrupt(right, "0123456789", rng)
    for other in rng.permutation([s for s in LETTER_SKILLS if s != skill]):
        mistaken = SKILLS[str(other)].answer(given)
        if mistaken != right and rng.random() < 0.8:
            return mistaken
    return _corrupt(right, LETTERS, rng)


class _AnswerKey:
    """The references of one split."""

    def __init__(self, questions: Sequence[tuple[str, str]]) -> None:
        self._questions = questions

    def grade(self, prompt_ids: Sequence[int], responses: Sequence[str]) -> np.ndarray:
        """Exact match. See `AnswerKey`."""
        return np.array(
            [
                self.correct_response(i) == text
                for i, text in zip(prompt_ids, responses, strict=True)
            ],
            bool,
        )

    def correct_response(self, prompt_id: int, rng: np.random.Generator | None = None) -> str:
        """The one correct response."""
        skill, given = self._questions[prompt_id]
        return SKILLS[skill].answer(given)

    def wrong_response(self, prompt_id: int, rng: np.random.Generator) -> str:
        """See `wrong_answer`."""
        return wrong_answer(*self._questions[prompt_id], rng)


class SkillsTask(Task):
    """Prompts drawn evenly over the skills; no prompt occurs in two splits."""

    name = "skills"
    stop_strings: tuple[str, ...] = ()

    def __init__(self, data: DataConfig) -> None:
        if data.few_shot:
            raise BoostError("the skills task takes no few-shot examples: leave out data.few_shot")
        sizes = {
            "train": data.train_prompts,
            "validation": data.eval_prompts,
            "test": data.eval_prompts,
        }
        self._questions = _draw_questions(sizes)
        self.prompts = {
            split: Prompts(
                texts=tuple(skill_prompt(*q) for q in questions),
                groups=tuple(skill for skill, _ in questions),
            )
            for split, questions in self._questions.items()
            if split != "seed"
        }

    def answer_key(self, split: str) -> _AnswerKey:
        """The answer key of a split."""
        return _AnswerKey(self._questions[split])

    def seed_examples(self, seed: int) -> list[tuple[str, str]]:
        """Seed examples, correct with probability `Skill.taught`. No split has their prompts."""
        rng = np.random.default_rng([_SPLIT_SEED, seed])
        examples = []
        for skill, given in self._questions["seed"]:
            good = rng.random() < SKILLS[skill].taught
            answer = SKILLS[skill].answer(given) if good else wrong_answer(skill, given, rng)
            examples.append((skill_prompt(skill, given), answer))
        return examples

    def tokenizer_texts(self) -> list[str]:
        """Texts with every character that prompts and responses can contain."""
        return [f"{skill} {LETTERS}0123456789+=" for skill in SKILLS]


def _draw_questions(sizes: Mapping[str, int]) -> dict[str, list[tuple[str, str]]]:
    """Distinct (skill, input) pairs for each split and for the seed data."""
    rng = np.random.default_rng(_SPLIT_SEED)
    total = sum(sizes.values()) + SEED_EXAMPLES
    each = -(-total // len(SKILLS))
    pools = {name: _inputs(skill.numbers, each, rng) for name, skill in SKILLS.items()}
    order = [(name, pools[name][i]) for i in range(each) for name in SKILLS]
    questions, start = {}, 0
    for split, size in (*sizes.items(), ("seed", SEED_EXAMPLES)):
        questions[split] = order[start : start + size]
        start += size
    return questions


def _inputs(numbers: bool, count: int, rng: np.random.Generator) -> list[str]:
    """Distinct inputs of one kind."""
    space = 90 * 90 if numbers else len(LETTERS) ** INPUT_LENGTH
    if count > space:
        raise BoostError(
            f"the skills task has only {space} inputs per skill, but the config needs {count}: "
            "lower data.train_prompts or data.eval_prompts"
        )
    chosen = rng.choice(space, size=count, replace=False)
    if numbers:
        return [f"{10 + n // 90}+{10 + n % 90}" for n in chosen.tolist()]
    base = len(LETTERS)
    return [
        "".join(LETTERS[n // base**p % base] for p in range(INPUT_LENGTH)) for n in chosen.tolist()
    ]
