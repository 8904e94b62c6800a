"""A tiny task whose prompts share a prefix: which letter follows."""

import numpy as np

from boostlm.tasks.base import Prompts, Task

PREFIX = "ab:c;bc:d;"  # two examples, before every prompt
LETTERS = "abcdefgh"


def following(given):
    return LETTERS[(LETTERS.index(given[-1]) + 1) % len(LETTERS)]


class PrefixKey:
    def __init__(self, inputs):
        self.inputs = inputs

    def grade(self, prompt_ids, responses):
        pairs = zip(prompt_ids, responses, strict=True)
        return np.array([following(self.inputs[i]) == text for i, text in pairs], bool)

    def correct_response(self, prompt_id, rng=None):
        return following(self.inputs[prompt_id])

    def wrong_response(self, prompt_id, rng):
        right = following(self.inputs[prompt_id])
        return str(rng.choice([letter for letter in LETTERS if letter != right]))


class PrefixTask(Task):
    name = "prefix"
    few_shot = PREFIX

    def __init__(self, data):
        rng = np.random.default_rng(5)
        texts = [a + b for a in LETTERS for b in LETTERS]
        order = rng.permutation(len(texts))
        cuts = {"train": data.train_prompts, "validation": 4, "test": data.eval_prompts}
        self._inputs, start = {}, 0
        for split, size in cuts.items():
            self._inputs[split] = [texts[i] for i in order[start : start + size]]
            start += size
        self._rest = [texts[i] for i in order[start:]]
        self.prompts = {
            split: Prompts(
                tuple(f"{PREFIX}{given}:" for given in inputs),
                tuple("early" if given[0] < "e" else "late" for given in inputs),
                tuple(f"{given} {split}" for given in inputs),
            )
            for split, inputs in self._inputs.items()
        }

    def answer_key(self, split):
        return PrefixKey(self._inputs[split])

    def seed_examples(self, seed):
        rng = np.random.default_rng([7, seed])
        examples = []
        for given in self._rest * 4:
            right = rng.random() < 0.5
            text = (
                following(given)
                if right
                else "".join(rng.choice(list(LETTERS), rng.integers(1, 5)))
            )
            examples.append((f"{PREFIX}{given}:", text))
        return examples

    def tokenizer_texts(self):
        return [f"{LETTERS}:;"]
