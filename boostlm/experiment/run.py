"""The experiment: for every seed, every arm from the same seed model and round-0 samples.

All arms finish a round before any starts the next one, so that a run that is looked at early
compares like with like. The model of an arm that is not at work is in its checkpoint.
"""

from collections.abc import Callable

from boostlm.config import Config
from boostlm.config_io import arm_config, arms_of
from boostlm.curation.policies import switches_of
from boostlm.engine.learner import LearnerState
from boostlm.errors import WaitingForPeople
from boostlm.experiment.arm_run import ArmRun
from boostlm.experiment.context import RunContext
from boostlm.experiment.resume import load_learner, shapes_of
from boostlm.experiment.seed_model import make_seed_model
from boostlm.experiment.stages import stage
from boostlm.labelers.base import Labeler, Query
from boostlm.labelers.endpoint import read_key
from boostlm.labelers.people import ask_people
from boostlm.labelers.registry import LabelerContext, make_labeler
from boostlm.labelers.shared import Bought, labeler_settings, sharing
from boostlm.runtime.multihost import on_host0
from boostlm.runtime.progress import Progress
from boostlm.storage import checkpoint
from boostlm.storage.ledger import Entry, read_ledger
from boostlm.storage.metrics_file import MetricsFile, MetricsRow
from boostlm.storage.partial_stages import PartialTraining
from boostlm.storage.run_dir import RoundId, RunDir


def planned_stages(config: Config) -> dict[str, int]:
    """How many stages of each kind a complete run has, for the estimate of time."""
    arms, rounds = arms_of(config).values(), config.rounds
    buying = sum(arm.labels != "none" for arm in arms)
    return {
        "seed model": config.seeds,
        "sample": config.seeds * (1 + len(arms) * rounds),
        "label": config.seeds * buying * rounds,
        "train": config.seeds * len(arms) * rounds,
        "evaluate": config.seeds * (1 + len(arms) * rounds),
    }


def run_experiment(
    ctx: RunContext,
    run_dir: RunDir,
    progress: Progress,
    labeler_of: Callable[[LabelerContext], Labeler] = make_labeler,
    on_row: Callable[[], None] = lambda: None,
) -> list[MetricsRow]:
    """Runs every seed and arm, or continues with them; returns the rows of metrics.

    Args:
      ctx: the run's context.
      run_dir: its directory.
      progress: told what happens.
      labeler_of: makes the labelers of a seed; the default makes those that the config names.
      on_row: called after each new row of metrics.

    Raises:
      WaitingForPeople: after everything that can be done without their answers.
      BoostError: a stage failed.
    """
    config, metrics = ctx.config, MetricsFile(run_dir, ctx.config)
    for arm in arms_of(config).values():
        switches_of(arm)  # a function of one's own is loaded, and tried, before any work
        label = arm_config(config, arm).label
        if label.labeler == "endpoint" and arm.labels != "none":
            on_host0(read_key)(label.endpoint)  # a missing key is reported before any work
    waiting: list[Query] = []
    for seed in range(config.seeds):
        waiting += _run_seed(ctx, run_dir, metrics, seed, progress, labeler_of, on_row)
    if waiting:
        on_host0(ask_people)(run_dir.people_folder, run_dir.name, waiting)
    return list(metrics.rows.values())


def _run_seed(
    ctx: RunContext,
    run_dir: RunDir,
    metrics: MetricsFile,
    seed: int,
    progress: Progress,
    labeler_of: Callable[[LabelerContext], Labeler],
    on_row: Callable[[], None],
) -> list[Query]:
    """All rounds of all arms of one seed; returns what people have to answer first."""
    runs = [ArmRun(ctx.of_arm(a), run_dir, metrics, RoundId(seed, a, 0), progress)
            for a in arms_of(ctx.config)]  # fmt: skip
    runs = [run for run in runs if not run.finished]
    if not runs:
        return []
    seed_model = seed_learner(ctx, run_dir, seed, progress)
    labelers: dict[object, Labeler] = {}
    for run in runs:
        if run.arm.labels == "none":
            run.begin(seed_model, None)
            continue
        settings = labeler_settings(run.ctx.config)
        if settings not in labelers:
            labelers[settings] = labeler_of(_labeler_context(run.ctx, run_dir, seed_model))
        run.begin(seed_model, sharing(labelers[settings], _bought(ctx, run_dir, run.seed_id.arm)))
    waiting: dict[str, list[Query]] = {}
    for round_ in range(ctx.config.rounds + 1):
        for run in runs:
            name = run.seed_id.arm
            if name in waiting:
                continue
            if run.arm.as_many_as in waiting:
                waiting[name] = []
                continue
            try:
                if run.advance(round_):
                    on_row()
            except WaitingForPeople as wait:
                waiting[name] = list(wait.queries)
            if len(runs) > 1:
                run.rest()
    return [query for queries in waiting.values() for query in queries]


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


def _labeler_context(ctx: RunContext, run_dir: RunDir, seed: LearnerState) -> LabelerContext:
    return LabelerContext(
        config=ctx.config,
        task=ctx.task,
        tokenizer=ctx.tokenizer,
        prompts=ctx.train_prompts,
        learner=ctx.learner,
        seed_params=seed.params,
        people_folder=run_dir.people_folder,
        spent=lambda: _spent(ctx.config, run_dir),
    )


def _spent(config: Config, run_dir: RunDir) -> float:
    """The cost of all labels so far. An answer that arms share was paid once."""
    settings = {n: labeler_settings(arm_config(config, a)) for n, a in arms_of(config).items()}
    paid: dict[object, float] = {}
    for ledger in map(read_ledger, run_dir.ledger_paths()):
        for e in ledger.entries.values():
            paid[settings.get(e.arm, e.arm), e.seed, e.round, e.prompt, e.sample] = e.cost
    return sum(paid.values())


def _bought(ctx: RunContext, run_dir: RunDir, arm: str) -> Bought:
    """What the other arms bought of the same labeler."""
    configs = {name: arm_config(ctx.config, other) for name, other in arms_of(ctx.config).items()}
    own = labeler_settings(configs[arm])
    others = [n for n, c in configs.items() if n != arm and labeler_settings(c) == own]

    def bought(seed: int, round_: int) -> dict[tuple[int, int], Entry]:
        found: dict[tuple[int, int], Entry] = {}
        for name in others:
            found |= read_ledger(run_dir.round_dir(RoundId(seed, name, round_)).ledger).entries
        return found

    return bought
