"""Makes report.html and summary.png from a run directory."""

import dataclasses

from etils import epath

from boostlm.errors import BoostError
from boostlm.storage.stage_arrays import load_arrays
from boostlm.experiment.evaluate import Answers
from boostlm.storage.durable_files import write_atomically
from boostlm.storage.run_dir import SHARED, RunDir
from boostlm.report.page import render_html
from boostlm.report.plots import summary_png
from boostlm.report.predict import predict
from boostlm.report.run_data import RunData, load_rows


def read_run(run_dir: RunDir) -> RunData:
    """Everything that the report shows."""
    config = run_dir.read_config()
    if not run_dir.metrics_path.exists():
        raise BoostError(f"{run_dir.name} has no metrics yet: its first round is not finished")
    rows = load_rows(run_dir.metrics_path.read_text())
    predicted = {}
    for seed in sorted({row["seed"] for row in rows}):
        arrays = load_arrays(run_dir.stage_path(seed, SHARED, 0, "verdicts"))
        if arrays is not None:
            predicted[seed] = predict(config, arrays["correct"])
    answered = {}
    for arm, seed, round_ in ((row["arm"], row["seed"], row["round"]) for row in rows):
        arrays = load_arrays(run_dir.stage_path(seed, arm, round_, "eval"), Answers._fields)
        if arrays is not None:
            answered[arm, seed, round_] = arrays["greedy_M"]
    return RunData(dataclasses.asdict(config), rows, predicted, answered)


def write_report(run_dir: RunDir, run: RunData) -> epath.Path:
    """Writes both files; returns the page's path."""
    page = run_dir.root / "report.html"
    write_atomically(page, render_html(run).encode())
    write_atomically(run_dir.root / "summary.png", summary_png(run))
    return page
