"""Greedy accuracy, and the row of metrics that a round leaves behind."""

from typing import Any, NamedTuple

import jax
import numpy as np

from boostlm.config import Config
from boostlm.errors import BoostError
from boostlm.functional.generate import Responses
from boostlm.functional.language_model import Params
from boostlm.functional.mix import failing
from boostlm.functional.round import RoundState
from boostlm.functional.token_rule import TokenRule
from boostlm.functional.variety import distinct_fraction
from boostlm.loop import checkpoint
from boostlm.loop.learner import LearnerState
from boostlm.loop.prompts import PromptTable, tokenize_prompts
from boostlm.loop.run_dir import RunDir
from boostlm.loop.saved_state import load_learner
from boostlm.loop.stages import Place
from boostlm.loop.workbench import Verifier, Workbench, build_workbench

GREEDY = TokenRule(temperature=0.0)


def greedy_verdicts(
    bench: Workbench, learner: LearnerState, prompts: PromptTable, verify: Verifier, within
) -> np.ndarray:
    """Which prompts the greedy response answers: bool [N]. Cut-off responses do not count."""
    key = jax.random.key(0)  # greedy decoding draws nothing
    responses = bench.sample(learner.params, prompts, key, GREEDY, 1, within)
    texts = bench.texts(responses.tokens_BxKxR, responses.length_BxK)
    return verify(np.arange(len(texts)), texts) & responses.finished_BxK[:, 0]


def by_band(value_N: np.ndarray, bands: tuple[str, ...], reduce) -> dict[str, float]:
    """A statistic of each band's values, in order of first appearance."""
    names = np.array(bands)
    return {band: float(reduce(value_N[names == band])) for band in dict.fromkeys(bands)}


def metrics_row(
    bench: Workbench,
    place: Place,
    round_: int,
    state: RoundState,
    responses: Responses,
    verdict: dict[str, np.ndarray],
    answered_M: np.ndarray,
    seconds: float,
) -> dict[str, Any]:
    """The row of the model after `round_` rounds. Only `seconds` depends on the machine.

    Args:
      bench: the run's surroundings.
      place: seed and arm.
      round_: rounds of training so far.
      state: after them.
      responses: the model's samples on the training prompts.
      verdict: on those samples, see `verdicts`.
      answered_M: bool, which evaluation prompts the greedy responses answer.
      seconds: this round took.
    """
    weight_N = np.exp(np.asarray(state.log_weight_N, np.float64))
    failures_N = np.asarray(state.failures_N)
    levels = range(round_ + 1)
    solved_N = ~np.asarray(failing(verdict["accepted"]))
    eval_bands = bench.task.prompts[bench.config.data.eval_split].bands
    return {
        "arm": place.arm,
        "seed": place.seed,
        "round": round_,
        "test_accuracy": float(np.mean(answered_M)),
        "eval_by_band": by_band(answered_M, eval_bands, np.mean),
        "train_accuracy": float(np.mean(verdict["correct"])),
        "train_solved": float(np.mean(solved_N)),
        "accepted": float(np.mean(verdict["accepted"])),
        "labels_spent": int(state.labels_spent),
        "labels_kept": int(state.labels_kept),
        "distinct": float(np.mean(distinct_fraction(responses.tokens_BxKxR))),
        "cut_off": float(np.mean(~responses.finished_BxK)),
        "weight_by_band": by_band(weight_N, bench.task.prompts["train"].bands, np.sum),
        "weight_by_failures": [float(weight_N[failures_N == f].sum()) for f in levels],
        "prompts_by_failures": [int(np.sum(failures_N == f)) for f in levels],
        "train_loss": float(state.learner.loss),
        "seconds": round(seconds, 2),
    }


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
        bench.task.answer_key(split).check,
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
