"""A model's answers to a split: greedy accuracy, and samples for pass@k."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from etils import epath

from boostlm.engine.learner import LearnerState
from boostlm.engine.prompt_table import PromptTable, tokenize_prompts
from boostlm.engine.sampler import OnProgress
from boostlm.experiment.context import (
    Grader,
    RunContext,
    assemble_run,
    grader,
    with_learner,
)
from boostlm.experiment.resume import load_learner, saved_round, shapes_of
from boostlm.lm.token_sampling import SamplingParams, sampling_params_of
from boostlm.prng import Purpose, round_key
from boostlm.runtime.multihost import gather_blocks, on_host0
from boostlm.storage import durable_files
from boostlm.storage.run_dir import RoundId, RunDir

GREEDY = SamplingParams(temperature=0.0)


def greedy_verdicts(
    ctx: RunContext,
    learner: LearnerState,
    prompts: PromptTable,
    grade: Grader,
    progress: OnProgress,
) -> np.ndarray:
    """Which prompts the greedy response answers: bool [N]. A cut-off response does not count."""
    key = jax.random.key(0)  # greedy decoding draws nothing
    return _verdicts(ctx, learner, prompts, grade, progress, key, GREEDY, 1)[:, 0]


def _verdicts(
    ctx: RunContext,
    learner: LearnerState,
    prompts: PromptTable,
    grade: Grader,
    progress: OnProgress,
    key: jax.Array,
    sampling: SamplingParams,
    k: int,
) -> np.ndarray:
    """Which of k responses to each prompt are right and finished, bool [M, k], on every host."""
    responses = ctx.sample(learner.params, prompts, key, sampling, k, progress)
    own = np.array(ctx.learner.shards(len(prompts.length_N)).own)

    def grade_own() -> np.ndarray:
        tokens, length, finished, _ = map(np.asarray, responses)
        return grade(np.repeat(own, k), ctx.texts(tokens, length)).reshape(-1, k) & finished

    return gather_blocks(grade_own, "the verifier")


def by_group(value_N: np.ndarray, groups: tuple[str, ...], reduce: Callable) -> dict[str, Any]:
    """A statistic of each group's values, [N, ...], in order of first appearance."""
    names = np.array(groups)
    return {group: reduce(value_N[names == group]) for group in dict.fromkeys(groups)}


class Answers(NamedTuple):
    """Verdicts on a model's responses to the M prompts of the evaluated split.

    Attributes:
      greedy_M: bool, the greedy response is correct.
      sampled_MxS: bool, the S = `sample.eval_k` sampled ones are correct.
    """

    greedy_M: np.ndarray
    sampled_MxS: np.ndarray


def load_answers(path: epath.Path) -> Answers | None:
    """The committed answers, or None."""
    saved = on_host0(durable_files.load_arrays)(path, Answers._fields)
    return Answers(**saved) if saved else None


def eval_answers(
    ctx: RunContext, path: epath.Path, id_: RoundId, learner: LearnerState, progress: OnProgress
) -> Answers:
    """The answers of a round's model, committed to `path`: arms are compared prompt by prompt."""
    prompts, S = ctx.eval_prompts, ctx.config.sample.eval_k
    greedy_M = greedy_verdicts(ctx, learner, prompts, ctx.grade_eval, progress)
    sampled_MxS = np.zeros((len(greedy_M), S), bool)
    if S:
        key = round_key(id_.seed, Purpose.EVALUATE, id_.round)
        sampling = sampling_params_of(ctx.config.sample)
        sampled_MxS = _verdicts(ctx, learner, prompts, ctx.grade_eval, progress, key, sampling, S)
    answers = Answers(greedy_M, sampled_MxS)
    on_host0(durable_files.save_arrays)(path, **answers._asdict())
    return answers


class Accuracy(NamedTuple):
    """Greedy accuracy of one saved model.

    Attributes:
      round: rounds of training that it had.
      right: prompts answered.
      prompts: prompts asked.
      by_group: accuracy of each group.
    """

    round: int
    right: int
    prompts: int
    by_group: dict[str, float]

    @property
    def accuracy(self) -> float:
        """Fraction answered."""
        return self.right / self.prompts


def evaluate_saved(
    run_dir: RunDir, seed: int, arm: str, round_: int | None, split: str
) -> Accuracy:
    """Greedy accuracy of a run's checkpoint on a split, with the run's own settings.

    Writes nothing.

    Args:
      run_dir: the run's directory.
      seed: which repeat.
      arm: which arm.
      round_: rounds of training; None for the last checkpoint, 0 for the seed model.
      split: "train", "validation" or "test".
    """
    id_ = saved_round(run_dir, seed, arm, round_)
    ctx = with_learner(assemble_run(run_dir)).of_arm(arm)
    prompts = ctx.task.prompts[split]
    limit = ctx.config.data.max_prompt_tokens
    answered = greedy_verdicts(
        ctx,
        load_learner(run_dir, id_, shapes_of(ctx)),
        tokenize_prompts(ctx.tokenizer, {split: prompts.texts}, limit)[split],
        grader(ctx.task, split),
        lambda done, total: None,
    )
    groups = by_group(answered, prompts.groups, np.mean)
    return Accuracy(id_.round, int(answered.sum()), len(answered), groups)
