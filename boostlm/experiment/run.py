"""The experiment: for every seed, every arm from the same seed model and round-0 samples."""

import time
from typing import Any

from boostlm.config import Config
from boostlm.errors import WaitingForPeople
from boostlm.curation.difficulty import theta_from_beta
from boostlm.prng import Purpose, round_key
from boostlm.curation.round import ARMS, Curation, curation_round
from boostlm.labelers.base import Query
from boostlm.labelers.endpoint import read_key
from boostlm.labelers.people import ask_people
from boostlm.storage import checkpoint
from boostlm.runtime import multihost as hosts
from boostlm.experiment.evaluate import eval_answers
from boostlm.engine.learner import LearnerState
from boostlm.experiment.metrics import metrics_row, past_of
from boostlm.runtime.progress import Progress
from boostlm.storage.run_dir import SHARED, Metrics, RunDir
from boostlm.experiment.resume import last_good, load_learner, save_state
from boostlm.experiment.seed_model import make_seed_model
from boostlm.experiment.stages import Place, durable_fns, verdicts
from boostlm.storage.partial_stages import Unfinished
from boostlm.experiment.context import Workbench


def planned_stages(config: Config) -> dict[str, int]:
    """How many stages of each kind a whole run has, for the estimate of time."""
    arms, rounds = len(config.arms), config.rounds
    buying = sum(ARMS[arm].labels != "none" for arm in config.arms)
    return {
        "seed model": config.seeds,
        "sample": config.seeds * (1 + arms * rounds),
        "label": config.seeds * buying * rounds,
        "train": config.seeds * arms * rounds,
        "evaluate": config.seeds * (1 + arms * rounds),
    }


def run_experiment(bench: Workbench, run_dir: RunDir, progress: Progress) -> list[dict[str, Any]]:
    """Runs, or goes on with, every seed and arm; returns the rows of metrics.

    Raises:
      WaitingForPeople: after everything that can be done without their answers.
      BoostError: what stopped a stage.
    """
    metrics = Metrics(run_dir, bench.config)
    waiting: list[Query] = []
    if bench.config.label.labeler == "endpoint":  # a key that is missing is said before any work
        hosts.from_first(lambda: read_key(bench.config.label.endpoint))
    for seed in range(bench.config.seeds):
        learner = None
        for arm in bench.config.arms:
            place = Place(seed, arm)
            if _is_finished(bench.config, run_dir, metrics, place):
                _skip_arm(bench.config, arm, progress)
                continue
            if learner is None:
                learner = seed_learner(bench, run_dir, seed, progress)
            try:
                run_arm(bench, run_dir, metrics, place, learner, progress)
            except WaitingForPeople as wait:
                waiting += wait.queries
    if waiting:
        hosts.from_first(lambda: ask_people(run_dir.people_folder, run_dir.name, waiting))
    return metrics.rows


def seed_learner(bench: Workbench, run_dir: RunDir, seed: int, progress: Progress) -> LearnerState:
    """The seed model, from its checkpoint, or made."""
    path = run_dir.checkpoint_path(seed, SHARED, 0)
    if checkpoint.is_good(path):
        progress.skip("seed model")
        return load_learner(bench, run_dir, seed, SHARED, 0)
    progress.at(f"seed {seed}")
    with Place(seed, "all").stage(0, "seed model", progress) as within:
        unfinished = Unfinished(run_dir.unfinished_path(seed, SHARED, 0))
        learner = make_seed_model(bench, seed, within, unfinished)
    checkpoint.save(path, learner)
    unfinished.remove()
    return learner


def run_arm(
    bench: Workbench,
    run_dir: RunDir,
    metrics: Metrics,
    place: Place,
    seed_model: LearnerState,
    progress: Progress,
) -> None:
    """One arm of one seed, from its last good checkpoint to the end."""
    config = bench.config
    labeler = bench.make_labeler(bench.learner, seed_model.params)
    fns = durable_fns(bench, labeler, run_dir, place, progress)
    curation = Curation(theta_from_beta(config.label.beta), config.label.budget, config.train.alpha)
    start, state = last_good(bench, run_dir, metrics, place, seed_model)
    _skip_rounds(config, place.arm, start, progress)
    for round_ in range(start, config.rounds + 1):
        began = time.monotonic()
        progress.at(f"seed {place.seed} · {place.arm} · round {round_}/{config.rounds}")
        if round_ > start:
            key = round_key(place.seed, Purpose.ALLOCATE, round_ - 1)
            state = curation_round(state, fns, ARMS[place.arm], curation, key, round_ - 1)
            save_state(run_dir.checkpoint_path(place.seed, place.arm, round_), state)
            Unfinished(run_dir.unfinished_path(place.seed, place.arm, round_)).remove()
        _prune(run_dir, place, round_, config.keep_checkpoints)
        responses = fns.sample(state.learner, round_)
        verdict = verdicts(bench, run_dir, place, responses, round_)
        if metrics.has(place.seed, place.arm, round_):
            continue
        same = [r for r in metrics.rows if (r["seed"], r["round"]) == (place.seed, round_)]
        if round_ == 0 and same:  # every arm starts from the same model and the same samples
            row = {**same[0], "arm": place.arm}
        else:
            with place.stage(round_, "evaluate", progress) as within:
                answers = eval_answers(bench, run_dir, place, round_, state.learner, within)
            past = past_of(run_dir, metrics, place, round_)
            row = metrics_row(bench, place, round_, state, responses, verdict, answers, past)
            row["seconds"] = round(time.monotonic() - began, 2)  # all that depends on the machine
        metrics.add(row)
        progress.say(_line(row, config, progress))
        for kind, seen in row["alarms"].items():
            if kind not in metrics.row(place.seed, place.arm, round_ - 1)["alarms"]:
                progress.say(f"  collapse alarm: {seen}")  # said once, while it lasts


def _is_finished(config: Config, run_dir: RunDir, metrics: Metrics, place: Place) -> bool:
    """Whether an arm has all its rows, and a whole last checkpoint."""
    return all(
        metrics.has(place.seed, place.arm, r) for r in range(config.rounds + 1)
    ) and checkpoint.is_good(run_dir.checkpoint_path(place.seed, place.arm, config.rounds))


def _prune(run_dir: RunDir, place: Place, newest: int, keep: int) -> None:
    for round_ in range(1, newest - keep + 1):
        checkpoint.remove(run_dir.checkpoint_path(place.seed, place.arm, round_))


def _skip_arm(config: Config, arm: str, progress: Progress) -> None:
    _skip_rounds(config, arm, config.rounds, progress)


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
        f"variety {row['distinct']:.2f}  labels {row['labels_spent']}  "
        f"({progress.times_line()})"
    )
