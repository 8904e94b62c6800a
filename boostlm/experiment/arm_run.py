"""One arm of one seed, round by round."""

import time
from typing import Any

import jax.numpy as jnp

from boostlm.config import Config
from boostlm.config_io import arm_config, arms_of
from boostlm.curation.difficulty import theta_from_beta
from boostlm.curation.round import Curation, RoundState, curation_round
from boostlm.engine.learner import LearnerState
from boostlm.experiment.context import RunContext
from boostlm.experiment.evaluate import eval_answers
from boostlm.experiment.metrics import metrics_row, past_of, unanswered_in_words
from boostlm.experiment.resume import last_good, save_state, state_after
from boostlm.experiment.stages import ArmStages, stage
from boostlm.labelers.base import Labeler
from boostlm.prng import Purpose, round_key
from boostlm.runtime.multihost import on_host0
from boostlm.runtime.progress import Progress
from boostlm.storage import checkpoint
from boostlm.storage.metrics_file import MetricsFile, MetricsRow
from boostlm.storage.run_dir import RoundId, RunDir


class ArmRun:
    """An arm of a seed. Between its rounds it is in its checkpoint, and holds no arrays.

    Attributes:
      ctx: the run's context with the arm's own settings.
      arm: the way of curating.
      seed_id: its round 0.
      finished: whether it has all its rows, and a complete last checkpoint.
    """

    def __init__(
        self,
        ctx: RunContext,
        run_dir: RunDir,
        metrics: MetricsFile,
        seed_id: RoundId,
        progress: Progress,
    ) -> None:
        """Looks for the last round with a complete checkpoint; loads nothing."""
        self.ctx, self.arm, self.seed_id = ctx, arms_of(ctx.config)[seed_id.arm], seed_id
        self._run_dir, self._metrics, self._progress = run_dir, metrics, progress
        self._done = last_good(ctx.config, run_dir, metrics, seed_id)
        last = seed_id._replace(round=ctx.config.rounds)
        self.finished = self._done == ctx.config.rounds and last in metrics.rows
        for kind in ("sample", "train", "evaluate"):
            progress.skip(kind, self._done)
        if self.arm.labels != "none":
            progress.skip("label", self._done)

    def begin(self, seed_model: LearnerState, labeler: Labeler | None) -> None:
        """Takes the seed model, and a labeler if the arm buys labels. Call it before `advance`."""
        self._seed_model, self._labeler = seed_model, labeler
        self.rest()

    def rest(self) -> None:
        """Lets go of the arrays. They are read again when the arm goes on."""
        self._state: RoundState | None = None
        self._stages = ArmStages(
            self.ctx, self._labeler, self._run_dir, self.seed_id, self._progress, self._seed_model
        )

    def advance(self, round_: int) -> bool:
        """Trains and measures a round, unless that is done; returns whether there is a new row.

        Raises:
          WaitingForPeople: the round needs their answers.
          BoostError: a stage failed.
        """
        if round_ < self._done:
            return False
        began, rounds, id_ = time.monotonic(), self.ctx.config.rounds, self._id(round_)
        self._progress.at(f"seed {id_.seed} · {id_.arm} · round {round_}/{rounds}")
        if round_ > self._done:
            self._train(round_)
        if round_ > self.ctx.config.keep_checkpoints:
            _remove_old(self._stages, round_ - self.ctx.config.keep_checkpoints)
        if id_ in self._metrics.rows:
            return False
        row = self._measured(id_)
        row.setdefault("seconds", round(time.monotonic() - began, 2))
        self._metrics.add(row)
        self._say(row)
        return True

    def _id(self, round_: int) -> RoundId:
        return self.seed_id._replace(round=round_)

    def _now(self) -> RoundState:
        """The state after the last round that is done."""
        if self._state is None:
            self._state = state_after(
                self.ctx, self._run_dir, self._id(self._done), self._seed_model
            )
        return self._state

    def _train(self, round_: int) -> None:
        config, stages = self.ctx.config, self._stages
        budget, places = self._budget(round_)
        theta = theta_from_beta(config.label.beta)
        curation = Curation(theta, jnp.int32(budget), config.train.alpha, places)
        key = round_key(self.seed_id.seed, Purpose.ALLOCATE, round_ - 1)
        self._state = curation_round(self._now(), stages.fns(), self.arm, curation, key, round_ - 1)
        save_state(stages.dir_of(round_).checkpoint, self._state, self.ctx.train_shards)
        if stages.partial_training(round_).exists:
            stages.partial_training(round_).remove()
        self._done = round_

    def _budget(self, round_: int) -> tuple[int, int]:
        """The labels to buy for a round, and the most that there may be in any."""
        config, other = self.ctx.config, self.arm.as_many_as
        if not other:
            return config.label.budget, config.label.budget
        after, before = (
            self._metrics.rows[RoundId(self.seed_id.seed, other, r)]["labels_kept"]
            for r in (round_, round_ - 1)
        )
        return after - before, arm_config(config, arms_of(config)[other]).label.budget

    def _measured(self, id_: RoundId) -> MetricsRow:
        """The row of a round, whose samples and verdicts this also makes."""
        stages = self._stages
        if id_.round == 0:  # arms that start from the same samples and verdicts have the same row
            start = stages.dir_of(0).verdicts
            for other, row in self._metrics.rows.items():
                same = (other.seed, other.round) == (id_.seed, 0)
                if same and self._run_dir.round_dir(other).verdicts == start:
                    return {**row, "arm": id_.arm}
        state = self._now()
        responses = stages.sample(state.learner, id_.round)
        verdicts = stages.verdicts(responses, id_.round)
        with stage(id_, "evaluate", self._progress) as report:
            answers = stages.saved_answers(id_.round)
            if answers is None:
                path = stages.dir_of(id_.round).eval
                answers = eval_answers(self.ctx, path, id_, state.learner, report)
        past = past_of(stages, self._metrics, id_)
        return metrics_row(self.ctx, id_, state, responses, verdicts, answers, past)

    def _say(self, row: MetricsRow) -> None:
        self._progress.say(_line(row, self.ctx.config, self._progress))
        asked = row["audit"]["labels"]["of"]
        if unanswered := unanswered_in_words(asked, row["labels_unanswered"]):
            self._progress.say(f"  {unanswered}")
        for kind, seen in row["alarms"].items():
            if kind not in self._metrics.rows[self._id(row["round"] - 1)]["alarms"]:
                self._progress.say(f"  collapse alarm: {seen}")  # said once, while it lasts


@on_host0
def _remove_old(stages: ArmStages, newest: int) -> None:
    """Removes the checkpoints of rounds 1 to `newest`."""
    for round_ in range(newest, 0, -1):
        path = stages.dir_of(round_).checkpoint
        if not path.exists():
            return
        checkpoint.remove(path)


def _line(row: dict[str, Any], config: Config, progress: Progress) -> str:
    return (
        f"seed {row['seed']}  {row['arm']:<11}  round {row['round']}/{config.rounds}  "
        f"{config.data.eval_split} {row['test_accuracy']:.3f}  solved {row['train_solved']:.3f}  "
        f"diversity {row['distinct']:.2f}  labels {row['labels_spent']}  "
        f"({progress.times_line()})"
    )
