"""The stages of an arm's rounds: each commits what it made before the next one begins.

`ArmStages` gives `curation_round` its functions. A stage that has committed is read instead of run
again, so a run that was killed continues where it stopped, with the same numbers.

The functions take the number of rounds done, as keys count: labels that are bought after `done`
rounds, and the model that is then trained, belong to round `done + 1`.
"""

import itertools
from collections.abc import Generator
from contextlib import contextmanager

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from boostlm.config_io import arms_of
from boostlm.curation.mixture import Mixture, draw, noisy_verdict
from boostlm.curation.round import LabelRequest, Labels, RoundFns, TrainingSet
from boostlm.engine.learner import LearnerState
from boostlm.engine.prompt_shards import PromptShards
from boostlm.engine.sampler import OnProgress
from boostlm.engine.training_rows import OwnResponses, TrainingRows, no_examples, training_rows
from boostlm.errors import BoostError, WaitingForPeople
from boostlm.experiment.context import RunContext
from boostlm.experiment.evaluate import Answers, load_answers
from boostlm.experiment.labeling import label_round
from boostlm.experiment.past_rounds import joined, labels_in_order, past_examples
from boostlm.experiment.round_arrays import (
    Arrays,
    Samples,
    Verdicts,
    commit,
    committed,
    part_of,
    samples_of,
)
from boostlm.labelers.base import Labeler
from boostlm.lm.lora import init_adapters
from boostlm.lm.token_sampling import sampling_params_of
from boostlm.numerics import all_finite
from boostlm.prng import Purpose, round_key
from boostlm.runtime.multihost import on_each_host
from boostlm.runtime.progress import Progress
from boostlm.storage.ledger import Entry, Ledger, read_ledger
from boostlm.storage.partial_stages import PartialSamples, PartialTraining
from boostlm.storage.run_dir import RoundDir, RoundId, RunDir


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
        labeler: Labeler | None,
        run_dir: RunDir,
        seed_id: RoundId,
        progress: Progress,
        seed_model: LearnerState | None = None,
    ) -> None:
        """Takes the labeler, if the arm buys labels, the seed model, and round 0 of the arm."""
        self._arm = arms_of(ctx.config)[seed_id.arm]
        self._seed_model = seed_model
        self._ctx = ctx
        self._labeler = labeler
        self._run_dir = run_dir
        self._seed_id = seed_id
        self._progress = progress
        self._dirs: dict[int, tuple[RoundDir, frozenset[str]]] = {}  # by rounds done, as are
        self._samples: dict[int, Samples] = {}  # the next ones
        self._verdicts: dict[int, Verdicts] = {}
        self._labels: dict[int, list[Entry]] = {}
        self._start: Answers | None = None
        self._start_verdicts: Verdicts | None = None

    def fns(self) -> RoundFns:
        """The functions of `curation_round`."""
        return RoundFns(self.sample, self.judge, self.label, self.train, self.recall)

    @property
    def shards(self) -> PromptShards:
        """How the training prompts are split over the devices."""
        return self._ctx.train_shards

    def id_of(self, done: int) -> RoundId:
        """The round that ends with `done` rounds done."""
        return self._seed_id._replace(round=done)

    def dir_of(self, done: int) -> RoundDir:
        """The files of that round."""
        return self._dir(done)[0]

    def saved(self, done: int, name: str, kind: type[Arrays]) -> Arrays | None:
        """The arrays that an earlier process committed as a field of `RoundDir`, or None."""
        files, names = self._dir(done)
        if name not in names:
            return None
        return committed(getattr(files, name), kind, self.shards)

    def saved_answers(self, done: int) -> Answers | None:
        """The answers to the evaluated split that an earlier process committed, or None."""
        files, names = self._dir(done)
        return load_answers(files.eval) if "eval" in names else None

    def _dir(self, done: int) -> tuple[RoundDir, frozenset[str]]:
        """The files of a round, and which of them were there when it was first looked at."""
        if done not in self._dirs:
            self._dirs[done] = self._run_dir.open_round(self.id_of(done))
        return self._dirs[done]

    def sample(self, learner: LearnerState, done: int) -> Samples:
        """K samples for every training prompt."""
        if done not in self._samples:
            self._samples = {}  # of the round before: nothing needs them beside the new ones
            saved = self.saved(done, "samples", Samples)
            self._samples = {done: saved or self._make_samples(learner, done)}
        return self._samples[done]

    def _make_samples(self, learner: LearnerState, done: int) -> Samples:
        ctx, id_, (files, names) = self._ctx, self.id_of(done), self._dir(done)
        part, exists = part_of(self.shards), "partial_samples" in names
        partial = PartialSamples(files.partial_samples, part, exists)
        with stage(id_, "sample", self._progress) as progress:
            own = samples_of(  # what else the sampler made is not kept
                ctx.sample(
                    learner.params,
                    ctx.train_prompts,
                    round_key(id_.seed, Purpose.SAMPLE, done),
                    sampling_params_of(ctx.config.sample),
                    ctx.config.sample.k,
                    progress,
                    partial,
                )
            )
            samples = commit(files.samples, own, self.shards)
        if partial.exists:
            partial.remove()
        return samples

    def judge(self, samples: Samples, done: int) -> Array:
        """The filter's verdicts."""
        return jnp.asarray(self.verdicts(samples, done).accepted)

    def verdicts(self, samples: Samples, done: int) -> Verdicts:
        """Exact and filtered verdicts on the samples."""
        if done not in self._verdicts:
            saved = self.saved(done, "verdicts", Verdicts)
            found = saved or self._make_verdicts(samples, done)
            before = {r: v for r, v in self._verdicts.items() if r == done - 1}
            self._verdicts = before | {done: found}
        return self._verdicts[done]

    def _make_verdicts(self, samples: Samples, done: int) -> Verdicts:
        ctx, shards = self._ctx, self.shards
        _, K = samples.length_NxK.shape

        def grade() -> np.ndarray:
            texts = ctx.texts(shards.local(samples.tokens_NxKxR), shards.local(samples.length_NxK))
            right = ctx.grade(np.repeat(np.array(shards.own), K), texts).reshape(-1, K)
            return right & shards.local(samples.finished_NxK)

        correct = on_each_host(grade, "the verifier")
        rates = (ctx.config.filter.miss_rate, ctx.config.filter.false_accept_rate)
        key = round_key(self._seed_id.seed, Purpose.FILTER, done)
        noisy = _noisy_verdict(key, shards.put(correct), *rates)
        accepted = shards.local(noisy) & shards.local(samples.finished_NxK)
        return commit(self.dir_of(done).verdicts, Verdicts(correct, accepted), shards)

    def saved_verdicts(self, done: int) -> Verdicts | None:
        """The verdicts of an earlier round, or None if their file is gone."""
        return self._verdicts.get(done) or self.saved(done, "verdicts", Verdicts)

    def start_answers(self) -> Answers | None:
        """The seed model's answers to the evaluated split, or None if their file is gone."""
        if self._start is None:
            self._start = load_answers(self.dir_of(0).eval)
        return self._start

    def start_verdicts(self) -> Verdicts | None:
        """The verdicts on the seed model's samples, or None if their files are gone."""
        if self._start_verdicts is None:
            verdicts = self.dir_of(0).verdicts
            self._start_verdicts = committed(verdicts, Verdicts, self.shards)
        return self._start_verdicts

    def label(self, request: LabelRequest, done: int) -> Labels:
        """The labels that a round of training requests."""
        id_ = self.id_of(done + 1)
        assert self._labeler is not None
        with stage(id_, "label", self._progress) as progress:
            ledger = self._ledger(done + 1)
            labels = label_round(self._ctx, self._labeler, ledger, id_, request, progress)
        self._labels = {done + 1: labels_in_order(ledger)}
        return labels

    def recall(self, now: TrainingSet, done: int) -> TrainingSet:
        """This round's examples with those of the rounds before, which it reads again."""
        own, dirs = self._arm.own, [self.dir_of(r) for r in range(done + 1)]
        past = [past_examples(self._ctx, a, b, own) for a, b in itertools.pairwise(dirs)]
        return joined([*past, now])

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
        samples: Samples,
        labels: Labels,
        mixture: Mixture,
        done: int,
    ) -> LearnerState:
        """Trains on rows that are drawn from the mixture."""
        ctx, id_ = self._ctx, self.id_of(done + 1)
        config, seed = ctx.config.train, id_.seed
        if self._arm.start == "seed":
            assert self._seed_model is not None
            learner = self._seed_model
        with stage(id_, "train", self._progress) as progress:
            if int(mixture.synthetic) + int(mixture.weak) == 0:
                if self._arm.as_many_as:
                    return learner  # the other arm kept no label yet
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
                _drawn_rows(ctx, round_key(seed, Purpose.TRAIN, done), samples, labels, mixture),
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


def _drawn_rows(
    ctx: RunContext, key: Array, samples: Samples, labels: Labels, mixture: Mixture
) -> TrainingRows:
    """The rows of all steps: own responses come first among the examples, then labels."""
    optimizer = ctx.config.train.optimizer
    drawn = draw(key, mixture, optimizer.steps * optimizer.batch_size)
    own = OwnResponses(samples.tokens_NxKxR, samples.length_NxK)
    examples = labels.examples or no_examples(ctx.config.sample.max_new_tokens)
    mesh = ctx.train_shards.mesh
    return training_rows(mesh, ctx.train_prompts, own, examples, *map(np.asarray, drawn))


_noisy_verdict = jax.jit(noisy_verdict)
