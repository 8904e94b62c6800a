"""The GSM8K fixtures and the task made from them."""

import json

from boostlm.config import DataConfig
from boostlm.tasks.gsm8k import task as gsm8k
from boostlm.tasks.gsm8k.source import Row
from support.data_sets import FIXTURES as ALL_FIXTURES

FIXTURES = ALL_FIXTURES / "gsm8k"


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
