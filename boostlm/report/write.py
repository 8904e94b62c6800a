"""Reads a run directory for the report, and writes report.html and summary.png."""

import dataclasses

from etils import epath

from boostlm.config_io import arms_of
from boostlm.errors import BoostError
from boostlm.experiment.evaluate import load_answers
from boostlm.experiment.round_arrays import Verdicts, load_verdicts
from boostlm.report.label_rate import rate_for_theory
from boostlm.report.page import render_html
from boostlm.report.plots import summary_png
from boostlm.report.predict import predict
from boostlm.report.run_data import RunData, parse_rows
from boostlm.storage import durable_files
from boostlm.storage.run_dir import RoundId, RunDir


def start_verdicts(run_dir: RunDir, seed: int) -> Verdicts | None:
    """The verdicts on the seed model's samples, or None if they are not on disk."""
    return load_verdicts(run_dir.round_dir(RoundId(seed, "all", 0)).verdicts)


def read_run(run_dir: RunDir, predictions: bool = True) -> RunData:
    """Everything that the report shows; without the theory's predictions it is quicker.

    Writes nothing.
    """
    config = run_dir.read_config()
    if not run_dir.metrics_path.exists():
        raise BoostError(f"{run_dir.name} has no metrics yet: its first round is not finished")
    rows = parse_rows(run_dir.metrics_path.read_text())
    predicted, answered = {}, {}
    for seed in sorted({row["seed"] for row in rows}) if predictions else ():
        paths = {a: run_dir.round_dir(RoundId(seed, a, 0)).verdicts for a in arms_of(config)}
        loaded = {path: load_verdicts(path) for path in set(paths.values())}
        starts = {a: v for a, path in paths.items() if (v := loaded[path]) is not None}
        if starts:
            predicted[seed] = predict(config, starts, rate_for_theory(config, rows), seed)
    for row in rows:
        id_ = RoundId(row["seed"], row["arm"], row["round"])
        answers = load_answers(run_dir.round_dir(id_).eval)
        if answers is not None:
            answered[id_.arm, id_.seed, id_.round] = answers.greedy_M
    return RunData(dataclasses.asdict(config), rows, predicted, answered)


def write_report(folder: epath.Path, run: RunData) -> epath.Path:
    """Writes both files into a folder; returns the page's path."""
    page = folder / "report.html"
    durable_files.write_atomically(page, render_html(run).encode())
    durable_files.write_atomically(folder / "summary.png", summary_png(run))
    return page
