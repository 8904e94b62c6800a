"""What a model answers on a split: greedy accuracy, and samples for pass@k."""

from typing import Any, NamedTuple

import jax
import numpy as np

from boostlm.config import Config
from boostlm.errors import BoostError
from boostlm.lm.language_model import Params
from boostlm.prng import Purpose, round_key
from boostlm.lm.token_sampling import TokenRule, sampling_rule
from boostlm.storage import checkpoint
from boostlm.storage.stage_arrays import load_arrays, save_arrays
from boostlm.engine.learner import LearnerState
from boostlm.engine.prompt_table import PromptTable, tokenize_prompts
from boostlm.storage.run_dir import RunDir
from boostlm.experiment.resume import load_learner
from boostlm.experiment.stages import Place
from boostlm.experiment.context import Verifier, Workbench, build_workbench, by_all_hosts

GREEDY = TokenRule(temperature=0.0)


def greedy_verdicts(
    bench: Workbench, learner: LearnerState, prompts: PromptTable, verify: Verifier, within
) -> np.ndarray:
    """Which prompts the greedy response answers: bool [N]. Cut-off responses do not count."""
    key = jax.random.key(0)  # greedy decoding draws nothing
    responses = bench.sample(learner.params, prompts, key, GREEDY, 1, within)
    texts = bench.texts(responses.tokens_BxKxR, responses.length_BxK)
    return verify(np.arange(len(texts)), texts) & responses.finished_BxK[:, 0]


def by_band(value_N: np.ndarray, bands: tuple[str, ...], reduce) -> dict[str, Any]:
    """A statistic of each band's values, [N, ...], in order of first appearance."""
    names = np.array(bands)
    return {band: reduce(value_N[names == band]) for band in dict.fromkeys(bands)}


class Answers(NamedTuple):
    """Verdicts on a model's responses to the M prompts of the evaluated split.

    Attributes:
      greedy_M: bool, the greedy response is correct.
      sampled_MxS: bool, so are the S = `sample.eval_k` sampled ones.
    """

    greedy_M: np.ndarray
    sampled_MxS: np.ndarray


def eval_answers(
    bench: Workbench, run_dir: RunDir, place: Place, round_: int, learner: LearnerState, within
) -> Answers:
    """The model's answers after `round_` rounds, committed: arms are compared prompt by prompt."""
    path = run_dir.stage_path(place.seed, place.arm, round_, "eval")
    if (saved := load_arrays(path, Answers._fields)) is not None:
        return Answers(**saved)
    prompts, S = bench.eval_prompts, bench.config.sample.eval_k
    greedy_M = greedy_verdicts(bench, learner, prompts, bench.verify_eval, within)
    sampled_MxS = np.zeros((len(greedy_M), S), bool)
    if S:
        key = round_key(place.seed, Purpose.EVALUATE, round_)
        rule = sampling_rule(bench.config.sample)
        responses = bench.sample(learner.params, prompts, key, rule, S, within)
        texts = bench.texts(responses.tokens_BxKxR, responses.length_BxK)
        right = bench.verify_eval(np.repeat(np.arange(len(greedy_M)), S), texts)
        sampled_MxS = right.reshape(-1, S) & responses.finished_BxK
    answers = Answers(greedy_M, sampled_MxS)
    save_arrays(path, **answers._asdict())
    return answers


class Accuracy(NamedTuple):
    """Greedy accuracy of one saved model.

    Attributes:
      round: rounds of training that it had.
      right: prompts answered.
      prompts: prompts asked.
      by_band: accuracy of each band.
    """

    round: int
    right: int
    prompts: int
    by_band: dict[str, float]

    @property
    def accuracy(self) -> float:
        """Fraction answered."""
        return self.right / self.prompts


def evaluate_saved(
    run_dir: RunDir, seed: int, arm: str, round_: int | None, split: str
) -> Accuracy:
    """Greedy accuracy of a run's checkpoint on a split, with the run's own settings.

    Args:
      run_dir: of the run.
      seed: which repeat.
      arm: which arm.
      round_: rounds of training; None for the last checkpoint, 0 for the seed model.
      split: "train", "validation" or "test".
    """
    config = run_dir.read_config()
    round_ = _saved_round(run_dir, config, seed, arm, round_)
    bench = build_workbench(config, run_dir)
    prompts = bench.task.prompts[split]
    limit = config.data.max_prompt_tokens
    answered = greedy_verdicts(
        bench,
        load_learner(bench, run_dir, seed, arm, round_),
        tokenize_prompts(bench.tokenizer, {split: prompts.texts}, limit)[split],
        by_all_hosts(bench.task.answer_key(split).check),
        lambda done, total: None,
    )
    bands = by_band(answered, prompts.bands, np.mean)
    return Accuracy(round_, int(answered.sum()), len(answered), bands)


def trained_params(run_dir: RunDir, seed: int, arm: str, round_: int | None) -> Params:
    """The parameters of a run's checkpoint; arguments as in `evaluate_saved`."""
    config = run_dir.read_config()
    round_ = _saved_round(run_dir, config, seed, arm, round_)
    bench = build_workbench(config, run_dir)
    return load_learner(bench, run_dir, seed, arm, round_).params


def _saved_round(run_dir: RunDir, config: Config, seed: int, arm: str, round_: int | None) -> int:
    """The given round, or the last one, if its checkpoint is whole."""
    rounds = range(config.rounds, -1, -1) if round_ is None else (round_,)
    kept = [r for r in rounds if checkpoint.is_good(run_dir.checkpoint_path(seed, arm, r))]
    if not kept or arm not in config.arms:
        raise BoostError(
            f"{run_dir.name} has no checkpoint of seed {seed}, arm {arm}"
            + ("" if round_ is None else f", round {round_}")
            + f" (arms: {', '.join(config.arms)}; the newest {config.keep_checkpoints} rounds of "
            "each are kept, and round 0)"
        )
    return kept[0]
