"""A task of your own: sums of two numbers. boostlm run --data.task examples/own_task.py:Sums"""

import numpy as np

from boostlm.config import SPLITS
from boostlm.tasks.base import Prompts, Task


class Key:  # only the verifier and the simulated labeler hold one
    def __init__(self, pairs):
        self.pairs = pairs

    def grade(self, prompt_ids, responses):
        pairs = zip(prompt_ids, responses, strict=True)
        return np.array([self.correct_response(i) == text for i, text in pairs], bool)

    def correct_response(self, prompt_id, rng=None):
        return str(sum(self.pairs[prompt_id]))

    def wrong_response(self, prompt_id, rng):
        return str(sum(self.pairs[prompt_id]) + int(rng.integers(1, 9)))


class Sums(Task):
    name = "sums"

    def __init__(self, data):
        order = np.random.default_rng(0).permutation(8100).tolist()
        sizes = [data.train_prompts, data.eval_prompts, data.eval_prompts, 4000]
        self.pairs = {
            split: [(10 + n // 90, 10 + n % 90) for n in (order.pop() for _ in range(size))]
            for split, size in zip((*SPLITS, "seed"), sizes, strict=True)
        }
        self.prompts = {
            split: Prompts(
                texts=tuple(f"{a}+{b}=" for a, b in self.pairs[split]),
                groups=tuple(f"{a // 10}0s" for a, _ in self.pairs[split]),
            )
            for split in SPLITS
        }

    def answer_key(self, split):
        return Key(self.pairs[split])

    def seed_examples(self, seed):  # not needed with a pretrained model
        return [(f"{a}+{b}=", str(a + b)) for a, b in self.pairs["seed"]]
