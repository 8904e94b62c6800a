"""A response that was cut off at the length limit is never correct, whoever wrote it."""

from types import SimpleNamespace

import numpy as np
from support.runs import tiny_config

from boostlm.config import FilterConfig
from boostlm.experiment.evaluate import greedy_verdicts
from boostlm.experiment.labeling import _entries
from boostlm.experiment.stages import ArmStages
from boostlm.labelers.base import CUT_OFF, Label, Query
from boostlm.lm.generate import Responses
from boostlm.storage.run_dir import RoundId, RunDir

FINISHED = np.array([[True, False], [False, True], [False, False]])


def responses(finished):
    N, K = finished.shape
    tokens = np.zeros((N, K, 1), np.int32)
    return Responses(tokens, np.ones((N, K), np.int32), finished, np.zeros((N, K, 1), np.float32))


def grade_all_right(prompt_ids, texts):
    return np.ones(len(texts), bool)


def context(finished):
    """A context whose verifier finds every text correct, and whose filter is exact."""
    return SimpleNamespace(
        config=tiny_config(filter=FilterConfig()),
        grade=grade_all_right,
        texts=lambda made: ["right"] * made.length_BxK.size,
        sample=lambda *arguments: responses(finished),
        tokenizer=SimpleNamespace(encode_response=lambda text: [5, 1]),
    )


def test_a_sample(tmp_path):
    stages = ArmStages(context(FINISHED), None, RunDir(tmp_path), RoundId(0, "boosting", 0), None)
    verdicts = stages.verdicts(responses(FINISHED), 1)
    np.testing.assert_array_equal(verdicts.correct, FINISHED)
    np.testing.assert_array_equal(verdicts.accepted, FINISHED)


def test_a_label():
    queries = [Query(0, 1, prompt, 0, "?") for prompt in range(2)]
    batch = [(q, Label("right", "endpoint", 1.0, why)) for q, why in zip(queries, ("", CUT_OFF), strict=True)]  # fmt: skip
    entries = _entries(context(FINISHED), "boosting", batch, [{False: False, True: True}] * 2)
    assert [(e.correct, e.accepted, e.kept) for e in entries] == [(True,) * 3, (False,) * 3]


def test_a_greedy_answer():
    ctx = context(FINISHED[:, :1])
    prompts = SimpleNamespace(length_N=np.ones(3, np.int32))
    learner = SimpleNamespace(params=None)
    answered = greedy_verdicts(ctx, learner, prompts, ctx.grade, lambda done, total: None)
    assert answered.tolist() == [True, False, False]
