"""The stages of an arm's rounds: each commits what it made before the next one begins.

`ArmStages` gives `curation_round` its functions. A stage that has committed is read instead of run
again, so a run that was killed continues where it stopped, with the same numbers.

The functions take the number of rounds done, as keys count: labels that are bought after `done`
rounds, and the model that is then trained, belong to round `done + 1`.
"""

from collections.abc import Generator
from contextlib import contextmanager
from typing import NamedTuple, TypeVar

import jax.numpy as jnp
import numpy as np
from etils import epath
from jax import Array

from boostlm.curation.mixture import Mixture, draw, noisy_verdict
from boostlm.curation.round import LabelRequest, Labels, RoundFns
from boostlm.engine.learner import LearnerState
from boostlm.engine.prompt_table import training_rows
from boostlm.engine.sampler import OnProgress
from boostlm.errors import BoostError, WaitingForPeople
from boostlm.experiment.context import RunContext
from boostlm.experiment.evaluate import Answers, load_answers
from boostlm.experiment.labeling import label_round
from boostlm.labelers.base import Labeler
from boostlm.lm.generate import Responses
from boostlm.lm.lora import init_adapters
from boostlm.lm.token_sampling import sampling_params_of
from boostlm.lm.train_step import Batch
from boostlm.numerics import all_finite
from boostlm.prng import Purpose, round_key
from boostlm.runtime.progress import Progress
from boostlm.storage import durable_files
from boostlm.storage.ledger import Entry, Ledger, read_ledger
from boostlm.storage.partial_stages import PartialSamples, PartialTraining
from boostlm.storage.run_dir import RoundDir, RoundId, RunDir


class Verdicts(NamedTuple):
    """Verdicts on the samples of a model. A response that was cut off is neither.

    Attributes:
      correct: bool [N, K], by the exact verifier.
      accepted: bool [N, K], by the filter.
    """

    correct: np.ndarray
    accepted: np.ndarray


Arrays = TypeVar("Arrays", Responses, Verdicts, Answers)


@contextmanager
def stage(id_: RoundId, name: str, progress: Progress) -> Generator[OnProgress]:
    """Times a stage, and names the place in every error."""
    try:
        with progress.stage(name) as report:
            yield report
    except WaitingForPeople:
        raise
    except BoostError as error:
        raise BoostError(f"{id_}, stage {name}: {error}") from error


class ArmStages:
    """The stages of one arm of one seed, in memory for as long as the next round needs them."""

    def __init__(
        self,
        ctx: RunContext,
        labeler: Labeler,
        run_dir: RunDir,
        seed_id: RoundId,
        progress: Progress,
    ) -> None:
        """Takes the labeler of this seed, and round 0 of the arm."""
        self._ctx = ctx
        self._labeler = labeler
        self._run_dir = run_dir
        self._seed_id = seed_id
        self._progress = progress
        self._dirs: dict[int, tuple[RoundDir, frozenset[str]]] = {}  # by rounds done, as are
        self._samples: dict[int, Responses] = {}  # the next ones
        self._verdicts: dict[int, Verdicts] = {}
        self._labels: dict[int, list[Entry]] = {}
        self._start: Answers | None = None
        self._start_verdicts: Verdicts | None = None

    def fns(self) -> RoundFns:
        """The functions of `curation_round`."""
        return RoundFns(self.sample, self.judge, self.label, self.train)

    def id_of(self, done: int) -> RoundId:
        """The round that ends with `done` rounds done."""
        return self._seed_id._replace(round=done)

    def dir_of(self, done: int) -> RoundDir:
        """The files of that round."""
        return self._dir(done)[0]

    def saved(self, done: int, name: str, kind: type[Arrays]) -> Arrays | None:
        """The arrays that an earlier process committed as a field of `RoundDir`, or None."""
        files, names = self._dir(done)
        arrays = (
            durable_files.load_arrays(getattr(files, name), kind._fields) if name in names else None
        )
        return kind(**arrays) if arrays else None

    def _dir(self, done: int) -> tuple[RoundDir, frozenset[str]]:
        """The files of a round, and which of them were there when it was first looked at."""
        if done not in self._dirs:
            self._dirs[done] = self._run_dir.open_round(self.id_of(done))
        return self._dirs[done]

    def sample(self, learner: LearnerState, done: int) -> Responses:
        """K samples for every training prompt."""
        if done not in self._samples:
            saved = self.saved(done, "samples", Responses)
            self._samples = {done: saved or self._make_samples(learner, done)}
        return self._samples[done]

    def _make_samples(self, learner: LearnerState, done: int) -> Responses:
        ctx, id_, (files, names) = self._ctx, self.id_of(done), self._dir(done)
        partial = PartialSamples(files.partial_samples, "partial_samples" in names)
        with stage(id_, "sample", self._progress) as progress:
            responses = ctx.sample(
                learner.params,
                ctx.train_prompts,
                round_key(id_.seed, Purpose.SAMPLE, done),
                sampling_params_of(ctx.config.sample),
                ctx.config.sample.k,
                progress,
                partial,
            )
            durable_files.save_arrays(files.samples, **responses._asdict())
        if partial.exists:
            partial.remove()
        return responses

    def judge(self, responses: Responses, done: int) -> Array:
        """The filter's verdicts."""
        return jnp.asarray(self.verdicts(responses, done).accepted)

    def verdicts(self, responses: Responses, done: int) -> Verdicts:
        """Exact and filtered verdicts on the samples."""
        if done not in self._verdicts:
            saved = self.saved(done, "verdicts", Verdicts)
            found = saved or self._make_verdicts(responses, done)
            before = {r: v for r, v in self._verdicts.items() if r == done - 1}
            self._verdicts = before | {done: found}
        return self._verdicts[done]

    def _make_verdicts(self, responses: Responses, done: int) -> Verdicts:
        ctx, (N, K) = self._ctx, responses.length_BxK.shape
        correct = ctx.grade(np.repeat(np.arange(N), K), ctx.texts(responses)).reshape(N, K)
        correct &= responses.finished_BxK
        rates = (ctx.config.filter.miss_rate, ctx.config.filter.false_accept_rate)
        key = round_key(self._seed_id.seed, Purpose.FILTER, done)
        accepted = np.asarray(noisy_verdict(key, correct, *rates)) & responses.finished_BxK
        verdicts = Verdicts(correct, accepted)
        durable_files.save_arrays(self.dir_of(done).verdicts, **verdicts._asdict())
        return verdicts

    def saved_verdicts(self, done: int) -> Verdicts | None:
        """The verdicts of an earlier round, or None if their file is gone."""
        return self._verdicts.get(done) or self.saved(done, "verdicts", Verdicts)

    def start_answers(self) -> Answers | None:
        """The seed model's answers to the evaluated split, or None if their file is gone."""
        if self._start is None:
            self._start = load_answers(self.dir_of(0).eval)
        return self._start

    def start_verdicts(self) -> Verdicts | None:
        """The verdicts on the seed model's samples, or None if their file is gone."""
        if self._start_verdicts is None:
            self._start_verdicts = load_verdicts(self.dir_of(0).verdicts)
        return self._start_verdicts

    def label(self, request: LabelRequest, done: int) -> Labels:
        """The labels that a round of training requests."""
        id_ = self.id_of(done + 1)
        with stage(id_, "label", self._progress) as progress:
            ledger = self._ledger(done + 1)
            labels = label_round(self._ctx, self._labeler, ledger, id_, request, progress)
        self._labels = {done + 1: labels_in_order(ledger)}
        return labels

    def labels_for(self, round_: int) -> list[Entry]:
        """The labels that were bought for a round of training."""
        if round_ not in self._labels:
            self._labels = {round_: labels_in_order(self._ledger(round_))}
        return self._labels[round_]

    def _ledger(self, round_: int) -> Ledger:
        files, names = self._dir(round_)
        return read_ledger(files.ledger) if "ledger" in names else Ledger(files.ledger)

    def partial_training(self, round_: int) -> PartialTraining:
        """What SIGTERM left of a round's training."""
        files, names = self._dir(round_)
        return PartialTraining(files.partial_training, "partial_training" in names)

    def train(
        self,
        learner: LearnerState,
        responses: Responses,
        labels: Labels,
        mixture: Mixture,
        done: int,
    ) -> LearnerState:
        """Trains on rows that are drawn from the mixture."""
        ctx, id_ = self._ctx, self.id_of(done + 1)
        config, seed = ctx.config.train, id_.seed
        with stage(id_, "train", self._progress) as progress:
            if int(mixture.synthetic) + int(mixture.weak) == 0:
                raise BoostError(
                    "the training set is empty: the filter accepted no response and no label was "
                    "kept. The last good state is kept. Try a better seed model, a larger sample.k "
                    "or label.budget, or an arm that buys labels"
                )
            if config.reset_optimizer:
                learner = learner._replace(optimizer_state=None)
            adapters = None
            if config.lora_rank:
                key = round_key(seed, Purpose.ADAPTERS, done)
                adapters = init_adapters(key, learner.params, config.lora_rank)
            learner = ctx.learner.train(
                learner,
                _drawn_rows(ctx, round_key(seed, Purpose.TRAIN, done), responses, labels, mixture),
                config.optimizer,
                progress,
                ctx.train_prompts.prefix_P0,
                self.partial_training(done + 1),
                adapters,
            )
            if not (np.isfinite(learner.loss) and all_finite(learner.params)):
                raise BoostError(
                    "the loss or a parameter is not finite (NaN or infinity). The last good state "
                    "is kept. A lower train.optimizer.learning_rate or clip_norm may help"
                )
        return learner._replace(optimizer_state=None) if config.reset_optimizer else learner


def load_verdicts(path: epath.Path) -> Verdicts | None:
    """The committed verdicts, or None."""
    saved = durable_files.load_arrays(path, Verdicts._fields)
    return Verdicts(**saved) if saved else None


def labels_in_order(ledger: Ledger) -> list[Entry]:
    """The labels by prompt, then sample."""
    return [ledger.entries[pair] for pair in sorted(ledger.entries)]


def _drawn_rows(
    ctx: RunContext, key: Array, responses: Responses, labels: Labels, mixture: Mixture
) -> Batch:
    """The rows of all steps: own responses come first among the examples, then labels."""
    optimizer = ctx.config.train.optimizer
    index_C, valid_C = draw(key, mixture, optimizer.steps * optimizer.batch_size)
    index_C, valid_C = np.asarray(index_C), np.asarray(valid_C)
    N, K = responses.length_BxK.shape
    prompt_id = np.repeat(np.arange(N, dtype=np.int32), K)
    tokens = responses.tokens_BxKxR.reshape(N * K, -1)
    length = responses.length_BxK.reshape(-1)
    if labels.examples is not None:
        prompt_L, tokens_LxR, length_L = labels.examples
        prompt_id = np.concatenate([prompt_id, prompt_L])
        tokens = np.concatenate([tokens, tokens_LxR])
        length = np.concatenate([length, length_L])
    rows = training_rows(ctx.train_prompts, prompt_id[index_C], tokens[index_C], length[index_C])
    return Batch(rows.tokens_BxT, rows.weight_BxT * valid_C[:, None])
