"""The experiment: for every seed, every arm from the same seed model and round-0 samples."""

import time
from collections.abc import Callable
from typing import Any

from boostlm.config import Config
from boostlm.curation.arms import ARMS
from boostlm.curation.difficulty import theta_from_beta
from boostlm.curation.round import Curation, RoundState, curation_round
from boostlm.engine.learner import LearnerState
from boostlm.errors import WaitingForPeople
from boostlm.experiment.context import RunContext
from boostlm.experiment.evaluate import eval_answers
from boostlm.experiment.metrics import metrics_row, past_of, unanswered_in_words
from boostlm.experiment.resume import last_good, load_learner, save_state, shapes_of
from boostlm.experiment.seed_model import make_seed_model
from boostlm.experiment.stages import ArmStages, stage
from boostlm.labelers.base import Labeler, Query
from boostlm.labelers.endpoint import read_key
from boostlm.labelers.people import ask_people
from boostlm.labelers.registry import LabelerContext, make_labeler
from boostlm.prng import Purpose, round_key
from boostlm.runtime.multihost import on_host0
from boostlm.runtime.progress import Progress
from boostlm.storage import checkpoint
from boostlm.storage.ledger import read_ledger
from boostlm.storage.metrics_file import MetricsFile, MetricsRow
from boostlm.storage.partial_stages import PartialTraining
from boostlm.storage.run_dir import RoundId, RunDir


def planned_stages(config: Config) -> dict[str, int]:
    """How many stages of each kind a complete run has, for the estimate of time."""
    arms, rounds = len(config.arms), config.rounds
    buying = sum(ARMS[arm].labels != "none" for arm in config.arms)
    return {
        "seed model": config.seeds,
        "sample": config.seeds * (1 + arms * rounds),
        "label": config.seeds * buying * rounds,
        "train": config.seeds * arms * rounds,
        "evaluate": config.seeds * (1 + arms * rounds),
    }


def run_experiment(
    ctx: RunContext,
    run_dir: RunDir,
    progress: Progress,
    labeler_of: Callable[[LabelerContext], Labeler] = make_labeler,
) -> list[MetricsRow]:
    """Runs every seed and arm, or continues with them; returns the rows of metrics.

    Args:
      ctx: the run's context.
      run_dir: its directory.
      progress: told what happens.
      labeler_of: makes the labeler of a seed; the default makes the one that the config names.

    Raises:
      WaitingForPeople: after everything that can be done without their answers.
      BoostError: a stage failed.
    """
    config, metrics = ctx.config, MetricsFile(run_dir, ctx.config)
    waiting: list[Query] = []
    if config.label.labeler == "endpoint":  # a missing key is reported before any work
        on_host0(read_key)(config.label.endpoint)
    for seed in range(config.seeds):
        seed_model, labeler = None, None
        for arm in config.arms:
            seed_id = RoundId(seed, arm, 0)
            if _is_finished(config, run_dir, metrics, seed_id):
                _skip_rounds(config, arm, config.rounds, progress)
                continue
            if seed_model is None or labeler is None:
                seed_model = seed_learner(ctx, run_dir, seed, progress)
                labeler = labeler_of(_labeler_context(ctx, run_dir, seed_model))
            try:
                run_arm(ctx, run_dir, metrics, seed_id, seed_model, labeler, progress)
            except WaitingForPeople as wait:
                waiting += wait.queries
    if waiting:
        on_host0(ask_people)(run_dir.people_folder, run_dir.name, waiting)
    return list(metrics.rows.values())


def seed_learner(ctx: RunContext, run_dir: RunDir, seed: int, progress: Progress) -> LearnerState:
    """The seed model, from its checkpoint, or made."""
    id_ = RoundId(seed, "all", 0)
    files = run_dir.round_dir(id_)
    if checkpoint.is_good(files.checkpoint):
        progress.skip("seed model")
        return load_learner(run_dir, id_, shapes_of(ctx))
    progress.at(f"seed {seed}")
    partial = PartialTraining(files.partial_training)
    with stage(id_, "seed model", progress) as report:
        learner = make_seed_model(ctx, seed, report, partial)
    checkpoint.save(files.checkpoint, learner)
    partial.remove()
    return learner


def run_arm(
    ctx: RunContext,
    run_dir: RunDir,
    metrics: MetricsFile,
    seed_id: RoundId,
    seed_model: LearnerState,
    labeler: Labeler,
    progress: Progress,
) -> None:
    """One arm of one seed, from its last good checkpoint to the end."""
    config, arm = ctx.config, seed_id.arm
    stages = ArmStages(ctx, labeler, run_dir, seed_id, progress)
    fns = stages.fns()
    curation = Curation(theta_from_beta(config.label.beta), config.label.budget, config.train.alpha)
    start, state = last_good(ctx, run_dir, metrics, seed_id, seed_model)
    _skip_rounds(config, arm, start, progress)
    for round_ in range(start, config.rounds + 1):
        id_ = stages.id_of(round_)
        began = time.monotonic()
        progress.at(f"seed {id_.seed} · {arm} · round {round_}/{config.rounds}")
        if round_ > start:
            key = round_key(id_.seed, Purpose.ALLOCATE, round_ - 1)
            state = curation_round(state, fns, ARMS[arm], curation, key, round_ - 1)
            save_state(stages.dir_of(round_).checkpoint, state, ctx.train_shards)
            if stages.partial_training(round_).exists:
                stages.partial_training(round_).remove()
        if round_ > config.keep_checkpoints:
            _remove_old(stages, round_ - config.keep_checkpoints)
        row = _measured(ctx, metrics, stages, id_, state, progress)
        if row is None:
            continue
        row.setdefault("seconds", round(time.monotonic() - began, 2))
        metrics.add(row)
        progress.say(_line(row, config, progress))
        asked = row["audit"]["labels"]["of"]
        if unanswered := unanswered_in_words(asked, row["labels_unanswered"]):
            progress.say(f"  {unanswered}")
        for kind, seen in row["alarms"].items():
            if kind not in metrics.rows[stages.id_of(round_ - 1)]["alarms"]:
                progress.say(f"  collapse alarm: {seen}")  # said once, while it lasts


def _measured(
    ctx: RunContext,
    metrics: MetricsFile,
    stages: ArmStages,
    id_: RoundId,
    state: RoundState,
    progress: Progress,
) -> MetricsRow | None:
    """The row of a round, whose samples and verdicts this also makes; None if there is one."""
    responses = stages.sample(state.learner, id_.round)
    verdicts = stages.verdicts(responses, id_.round)
    if id_ in metrics.rows:
        return None
    same = [row for i, row in metrics.rows.items() if (i.seed, i.round) == (id_.seed, 0)]
    if id_.round == 0 and same:  # every arm starts from the same model and the same samples
        return {**same[0], "arm": id_.arm}
    with stage(id_, "evaluate", progress) as report:
        answers = stages.saved_answers(id_.round)
        if answers is None:
            path = stages.dir_of(id_.round).eval
            answers = eval_answers(ctx, path, id_, state.learner, report)
    past = past_of(stages, metrics, id_)
    return metrics_row(ctx, id_, state, responses, verdicts, answers, past)


def _labeler_context(ctx: RunContext, run_dir: RunDir, seed: LearnerState) -> LabelerContext:
    def spent() -> float:
        ledgers = map(read_ledger, run_dir.ledger_paths())
        return sum(entry.cost for ledger in ledgers for entry in ledger.entries.values())

    return LabelerContext(
        config=ctx.config,
        task=ctx.task,
        tokenizer=ctx.tokenizer,
        prompts=ctx.train_prompts,
        learner=ctx.learner,
        seed_params=seed.params,
        people_folder=run_dir.people_folder,
        spent=spent,
    )


def _is_finished(config: Config, run_dir: RunDir, metrics: MetricsFile, seed_id: RoundId) -> bool:
    """Whether an arm has all its rows, and a complete last checkpoint."""
    ids = [seed_id._replace(round=r) for r in range(config.rounds + 1)]
    done = all(id_ in metrics.rows for id_ in ids)
    return done and checkpoint.is_good(run_dir.round_dir(ids[-1]).checkpoint)


@on_host0
def _remove_old(stages: ArmStages, newest: int) -> None:
    """Removes the checkpoints of rounds 1 to `newest`."""
    for round_ in range(newest, 0, -1):
        path = stages.dir_of(round_).checkpoint
        if not path.exists():
            return
        checkpoint.remove(path)


def _skip_rounds(config: Config, arm: str, rounds: int, progress: Progress) -> None:
    """Tells the estimate of time that these rounds of an arm are done."""
    for kind in ("sample", "train", "evaluate"):
        progress.skip(kind, rounds)
    if ARMS[arm].labels != "none":
        progress.skip("label", rounds)


def _line(row: dict[str, Any], config: Config, progress: Progress) -> str:
    return (
        f"seed {row['seed']}  {row['arm']:<11}  round {row['round']}/{config.rounds}  "
        f"{config.data.eval_split} {row['test_accuracy']:.3f}  solved {row['train_solved']:.3f}  "
        f"diversity {row['distinct']:.2f}  labels {row['labels_spent']}  "
        f"({progress.times_line()})"
    )
