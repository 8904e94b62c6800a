"""The stages of a round on disk: each commits what it made before the next begins.

`durable_fns` gives `curation_round` its callables. A stage that has committed is read back instead
of done again, so a run that was killed goes on where it stopped, with the same numbers.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jax import Array

from boostlm.errors import BoostError, WaitingForPeople
from boostlm.lm.generate import Responses
from boostlm.lm.lora import init_adapters
from boostlm.curation.mixture import Mixture, draw, noisy_verdict
from boostlm.prng import Purpose, round_key
from boostlm.curation.round import LabelRequest, Labels, RoundFns
from boostlm.lm.token_sampling import sampling_rule
from boostlm.lm.train_step import Batch
from boostlm.labelers.base import Labeler
from boostlm.runtime import multihost as hosts
from boostlm.storage.stage_arrays import load_arrays, save_arrays
from boostlm.experiment.labeling import buy
from boostlm.storage.checkpoint import check_finite
from boostlm.engine.learner import LearnerState
from boostlm.storage.ledger import Ledger
from boostlm.runtime.progress import Progress
from boostlm.engine.prompt_table import training_rows
from boostlm.storage.run_dir import RunDir
from boostlm.storage.partial_stages import Unfinished, UnfinishedSamples
from boostlm.experiment.context import Workbench


@dataclass(frozen=True)
class Place:
    """Where in a run: for paths, keys and messages."""

    seed: int
    arm: str

    @contextmanager
    def stage(self, round_: int, name: str, progress: Progress) -> Iterator[Callable]:
        """Times a stage, says in every error where it happened, and leaves it when preempted."""
        hosts.leave_if_preempted()
        try:
            yield progress.start(name)
        except WaitingForPeople:
            raise
        except BoostError as error:
            where = f"seed {self.seed}, arm {self.arm}, round {round_}, stage {name}"
            raise BoostError(f"{where}: {error}") from error
        progress.finish()


def durable_fns(
    bench: Workbench, labeler: Labeler, run_dir: RunDir, place: Place, progress: Progress
) -> RoundFns:
    """The callables of `curation_round` for a language model, committing to `run_dir`."""
    config, (N, K) = bench.config, (len(bench.train_prompts.length_N), bench.config.sample.k)

    def sample(learner: LearnerState, round_: int) -> Responses:
        path = run_dir.stage_path(place.seed, place.arm, round_, "samples")
        if (saved := load_arrays(path, Responses._fields)) is not None:
            return Responses(**saved)
        rule = sampling_rule(config.sample)
        key = round_key(place.seed, Purpose.SAMPLE, round_)
        name = "samples-unfinished"
        unfinished = UnfinishedSamples(run_dir.stage_path(place.seed, place.arm, round_, name))
        with place.stage(round_, "sample", progress) as within:
            prompts = bench.train_prompts
            responses = bench.sample(learner.params, prompts, key, rule, K, within, unfinished)
            save_arrays(path, **responses._asdict())
        unfinished.remove()
        return responses

    def judge(responses: Responses, round_: int) -> Array:
        return jnp.asarray(verdicts(bench, run_dir, place, responses, round_)["accepted"])

    def label(request: LabelRequest, round_: int) -> Labels:
        with place.stage(round_, "label", progress) as within:
            ledger = Ledger(run_dir.ledger_path(place.seed, place.arm, round_))
            return buy(bench, labeler, ledger, place.seed, place.arm, round_, request, within)

    def train(learner, responses, labels, mixture: Mixture, round_: int) -> LearnerState:
        optimizer = config.train.optimizer
        with place.stage(round_, "train", progress) as within:
            if int(mixture.synthetic) + int(mixture.weak) == 0:
                raise BoostError(
                    "the training set is empty: the filter accepted no response and no label was "
                    "kept. The last good state is kept. A better seed model, a larger sample.k or "
                    "label.budget, or an arm that buys labels would give it something"
                )
            key = round_key(place.seed, Purpose.TRAIN, round_)
            index_C, valid_C = draw(key, mixture, optimizer.steps * optimizer.batch_size)
            rows = _rows(bench, responses, labels, np.asarray(index_C), N, K)
            weight = rows.weight_BxT * np.asarray(valid_C)[:, None]
            if config.train.reset_optimizer:
                learner = learner._replace(optimizer_state=None)
            adapters = None
            if config.train.lora_rank:
                adapters_key = round_key(place.seed, Purpose.ADAPTERS, round_)
                adapters = init_adapters(adapters_key, learner.params, config.train.lora_rank)
            learner = bench.learner.train(
                learner,
                Batch(rows.tokens_BxT, weight),
                optimizer,
                within,
                bench.train_prompts.prefix_P0,
                Unfinished(run_dir.unfinished_path(place.seed, place.arm, round_ + 1)),
                adapters,
            )
            if not (np.isfinite(learner.loss) and check_finite(learner.params)):
                raise BoostError(
                    "the loss or a parameter is not finite (NaN or infinity). The last good state "
                    "is kept. A lower train.optimizer.learning_rate or clip_norm may help"
                )
            if config.train.reset_optimizer:
                learner = learner._replace(optimizer_state=None)
        return learner

    return RoundFns(sample, judge, label, train)


def verdicts(
    bench: Workbench, run_dir: RunDir, place: Place, responses: Responses, round_: int
) -> dict[str, np.ndarray]:
    """Exact and filtered verdicts on a round's samples: correct and accepted, bool [N, K].

    A response that was cut off is never correct.
    """
    path = run_dir.stage_path(place.seed, place.arm, round_, "verdicts")
    if (saved := load_arrays(path, ("correct", "accepted"))) is not None:
        return saved
    N, K = responses.length_BxK.shape
    texts = bench.texts(responses.tokens_BxKxR, responses.length_BxK)
    correct = bench.verify(np.repeat(np.arange(N), K), texts).reshape(N, K)
    correct &= responses.finished_BxK
    rates = (bench.config.filter.miss_rate, bench.config.filter.false_accept_rate)
    key = round_key(place.seed, Purpose.FILTER, round_)
    arrays = {"correct": correct, "accepted": np.asarray(noisy_verdict(key, correct, *rates))}
    save_arrays(path, **arrays)
    return arrays


def _rows(bench, responses: Responses, labels: Labels, index_C, N: int, K: int) -> Batch:
    """The drawn training rows: own responses first, then labels."""
    prompt_id = np.repeat(np.arange(N, dtype=np.int32), K)
    tokens = responses.tokens_BxKxR.reshape(N * K, -1)
    length = responses.length_BxK.reshape(-1)
    if labels.examples is not None:
        prompt_L, tokens_LxR, length_L = labels.examples
        prompt_id = np.concatenate([prompt_id, prompt_L])
        tokens = np.concatenate([tokens, tokens_LxR])
        length = np.concatenate([length, length_L])
    return training_rows(bench.train_prompts, prompt_id[index_C], tokens[index_C], length[index_C])
