"""A response that was cut off at the length limit is never correct, whoever wrote it."""

from types import SimpleNamespace

import jax
import numpy as np
from etils import epath
from support.runs import tiny_config

from boostlm.config import FilterConfig
from boostlm.engine.prompt_shards import split_prompts
from boostlm.experiment.evaluate import greedy_verdicts
from boostlm.experiment.labeling import _entries
from boostlm.experiment.round_arrays import commit, samples_of
from boostlm.experiment.stages import ArmStages
from boostlm.labelers.base import CUT_OFF, Label, Query
from boostlm.lm.generate import Responses
from boostlm.storage.run_dir import RoundId, RunDir

FINISHED = np.array([[True, False], [False, True], [False, False]])


def responses(finished):
    N, K = finished.shape
    tokens = np.zeros((N, K, 1), np.int32)
    return Responses(tokens, np.ones((N, K), np.int32), finished, np.zeros((N, K, 1), np.float32))


def shards(prompts):
    return split_prompts(jax.devices()[:1], prompts)


def grade_all_right(prompt_ids, texts):
    return np.ones(len(texts), bool)


def context(finished):
    """A context whose verifier finds every text correct, and whose filter is exact."""
    return SimpleNamespace(
        config=tiny_config(filter=FilterConfig()),
        grade=grade_all_right,
        texts=lambda tokens_NxKxR, length_NxK: ["right"] * length_NxK.size,
        sample=lambda *arguments: responses(finished),
        train_shards=shards(len(finished)),
        learner=SimpleNamespace(shards=shards),
        tokenizer=SimpleNamespace(encode_response=lambda text: [5, 1]),
    )


def test_a_sample(tmp_path):
    ctx, run_dir = context(FINISHED), RunDir(tmp_path)
    stages = ArmStages(ctx, None, run_dir, RoundId(0, "boosting", 0), None)
    samples = commit(
        epath.Path(tmp_path) / "samples.npz", samples_of(responses(FINISHED)), ctx.train_shards
    )
    verdicts = stages.verdicts(samples, 1)
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
