"""Reads a run directory for the report, and writes report.html and summary.png."""

import dataclasses

from etils import epath

from boostlm.errors import BoostError
from boostlm.experiment.evaluate import load_answers
from boostlm.experiment.stages import Verdicts
from boostlm.report.page import render_html
from boostlm.report.plots import summary_png
from boostlm.report.predict import predict
from boostlm.report.run_data import RunData, parse_rows
from boostlm.storage import durable_files
from boostlm.storage.run_dir import RoundId, RunDir


def read_run(run_dir: RunDir) -> RunData:
    """Everything that the report shows. Writes nothing."""
    config = run_dir.read_config()
    if not run_dir.metrics_path.exists():
        raise BoostError(f"{run_dir.name} has no metrics yet: its first round is not finished")
    rows = parse_rows(run_dir.metrics_path.read_text())
    predicted, answered = {}, {}
    for seed in sorted({row["seed"] for row in rows}):
        path = run_dir.round_dir(RoundId(seed, "all", 0)).verdicts
        arrays = durable_files.load_arrays(path, Verdicts._fields)
        if arrays is not None:
            predicted[seed] = predict(config, arrays["correct"])
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
