"""The command line: help, the four commands, progress, and what a newcomer does wrong."""

import builtins
import errno
import io
import json
import os
import pty
import re
import shutil
import subprocess
import threading
import zlib
from dataclasses import replace

import numpy as np
import pytest
from support.runs import (
    as_options,
    boostlm,
    command,
    environment,
    files_and_times,
    finished_run,
    on_one_device,
    tiny_config,
)

from boostlm.cli.main import _join_values, main
from boostlm.cli.options import make_parser
from boostlm.config import ARM_NAMES, Config, OptimizerConfig, SeedModelConfig, TrainConfig
from boostlm.config_io import fields_of
from boostlm.experiment import evaluate
from boostlm.experiment.context import make_context
from boostlm.experiment.evaluate import evaluate_saved
from boostlm.experiment.run import planned_stages, run_experiment
from boostlm.runtime.progress import Progress, clock
from boostlm.storage.run_dir import RunDir
from boostlm.tasks import skills

pytestmark = pytest.mark.slow

OPTIONS = {
    "run": ["config", "--run-dir", *(f"--{name} " for name in fields_of(Config()))],
    "compile": ["config", "--topology", "--price", "--json", "--model", "--prefix-tokens", "--prompt-tokens", "--response-tokens"],
    "label": ["run_dir", "--from", ".csv", ".jsonl"],
    "convert": ["source", "dest", "--to", "--keep-tokens-of", "--seed", "--arm", "--round"],
    "report": ["run_dir", "--out"],
    "eval": ["run_dir", "--seed", "--arm", "--round", "--split", *ARM_NAMES, "validation"],
    "export": ["run_dir", "--seed", "--arm", "--round", "--out", *ARM_NAMES],
    "plan": ["--beta", "--target-error", "--budget", "--prompts", "--start", "--miss-rate", "--false-accept-rate"],
}  # fmt: skip


@pytest.fixture(scope="module")
def run():
    """The folder of a finished run. Read only."""
    return finished_run()[0]


def call(capsys, *arguments):
    """(status, stdout, stderr) of the command line in this process."""
    try:
        status = main([str(a) for a in arguments])
    except SystemExit as stopped:  # argparse's way
        status = stopped.code
    said = capsys.readouterr()
    return status, said.out, said.err


# --- help -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OPTIONS)
def test_help_names_every_option(capsys, name):
    status, out, err = call(capsys, name, "--help")
    assert (status, err) == (0, "")
    for option in OPTIONS[name]:
        assert option in out


@pytest.mark.parametrize("name", ["label", "convert", "report", "eval", "export", "plan"])
def test_help_says_something_about_every_argument(capsys, name):
    _, out, _ = call(capsys, name, "--help")
    _, *described = re.split(r"^  (?=\S)", out, flags=re.MULTILINE)  # an argument and its help
    described = {words.split()[0]: words for words in described}
    for option in OPTIONS[name]:
        if option.startswith("--") or option in ("run_dir", "source", "dest"):
            text = re.sub(r"\n\n.*", "", described[option], flags=re.DOTALL)
            assert re.search(r"\S(  |\n) *\S", text), f"{option} has no help"


def test_help_of_the_whole_names_the_commands_and_its_examples_parse(capsys):
    status, out, _ = call(capsys, "--help")
    assert status == 0
    examples = re.findall(r"^  boostlm (.*?)(?:   .*)?$", out, re.MULTILINE)
    assert {e.split()[0] for e in examples} == set(OPTIONS)
    for example in examples:
        _, rest = make_parser().parse_known_args(_join_values(example.split()))
        known = [f"--{name}" for name in fields_of(Config())]
        assert all(word.split("=")[0] in known for word in rest)


# --- run --------------------------------------------------------------------------------------


def test_a_run_prints_a_line_a_round_and_the_table(run):
    out = finished_run()[1]
    assert "\r" not in out
    assert "\x1b" not in out
    first, *lines = out.splitlines()
    assert first.startswith("tiny: 4 arms, 2 rounds, 1 seed, 24 prompts, 8 labels a round; 1 cpu")
    rounds = [line for line in lines if line.startswith("seed 0")]
    assert [line.split()[2] for line in rounds] == [arm for arm in ARM_NAMES for _ in range(3)]
    assert all(re.search(r"round \d/2  test [01]\.\d{3} .*\(\d+:\d\d so far", r) for r in rounds)
    table = out[out.index("tiny: test accuracy") :]
    assert all(re.search(rf"^{arm} ", table, re.MULTILINE) for arm in ARM_NAMES)
    assert f"report: {run / 'report.html'}" in table


def test_a_run_leaves_what_the_manual_says(run):
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [(r["arm"], r["round"]) for r in rows] == [(a, r) for a in ARM_NAMES for r in range(3)]
    for key in ("seed", "test_accuracy", "train_solved", "labels_spent", "distinct", "seconds"):
        assert all(key in row for row in rows)
    assert all(0 <= r["labels_spent"] <= 8 * r["round"] for r in rows)
    assert {p.name for p in run.iterdir()} >= {
        "config.json", "task.json", "tokenizer.model", "rounds", "report.html", "summary.png"
    }  # fmt: skip


def test_a_finished_run_started_again_does_no_work_and_prints_the_table(run, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    before = files_and_times(copy, but=("lock", "report.html", "summary.png"))
    again = boostlm("run", "--run-dir", copy, *as_options(tiny_config()))
    assert (again.returncode, again.stderr) == (0, "")
    assert not re.search(r"^seed 0 ", again.stdout, re.MULTILINE)
    table = finished_run()[1].partition("\n\n")[2].rpartition("report:")[0]
    assert table in again.stdout
    assert files_and_times(copy, but=("lock", "report.html", "summary.png")) == before


def test_a_config_file_and_options_go_together_in_any_order(tmp_path, capsys, monkeypatch):
    path = tmp_path / "mine.py"
    path.write_text(
        "from boostlm.config import *\ndef get_config():\n    return Config(name='m')\n"
    )
    monkeypatch.chdir(tmp_path)
    for order in (["--rounds", "0", path], [path, "--rounds", "0"], [path, "--rounds=0"]):
        status, _, err = call(capsys, "run", *order)
        assert status == 2
        assert "rounds: 0 is below 1" in err
    assert [p.name for p in tmp_path.iterdir()] == ["mine.py"]


def test_the_live_line_works_on_a_terminal(tmp_path):
    """On a pseudo-terminal: the stages are shown, every line of it is wiped, and fits."""
    ours, theirs = pty.openpty()
    config = tiny_config(arms=("boosting",))
    process = subprocess.Popen(
        command("run", "--run-dir", tmp_path / "run", *as_options(config)),
        stdout=theirs,
        stderr=theirs,
        env=environment() | {"COLUMNS": "60"},
    )
    os.close(theirs)
    seen = []
    reader = threading.Thread(target=lambda: seen.extend(iter(lambda: read_some(ours), b"")))
    reader.start()
    assert process.wait(timeout=300) == 0
    reader.join()
    os.close(ours)
    text = b"".join(seen).decode()
    for stage in ("seed model", "sample", "label", "train", "evaluate"):
        assert f"· {stage}" in text
    live = [part for part in re.split(r"\r\x1b\[K|\r?\n", text) if "·" in part]
    assert max(len(part) for part in live) == 59
    assert "\r\x1b[Kseed 0  boosting     round 2/2" in text  # wiped before the line that stays


def read_some(descriptor):
    try:
        return os.read(descriptor, 65536)
    except OSError:  # how a pseudo-terminal says that the other side is gone
        return b""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "--run-dir"], "expected one argument"),
        (["run", "nowhere.py"], "there is no config file nowhere.py"),
        (["run", "--sedes", "3"], "there is no field --sedes; did you mean --seeds?"),
        (["run", "--run_dir", "x"], "there is no field --run_dir; did you mean --run-dir or"),
        (["run", "--run-dir", "gs2://bucket/run"], "gs2://bucket/run cannot be opened"),
        (["run", "--rounds"], "--rounds needs a value"),
        (["run", "--rounds", "many"], "--rounds takes a whole number, not 'many'"),
        (["run", "--arms", ""], "arms: at least one"),
        (["report"], "required: run_dir"),
        (["report", "."], ". is not a run directory: it has no config.json"),
        (["report", "nowhere"], "nowhere is not a run directory"),
        (["report", "a", "b"], "unknown argument 'b'"),
        (["eval", "nowhere"], "nowhere is not a run directory"),
        (["eval", ".", "--arm", "best"], "invalid choice: 'best'"),
        (["eval", ".", "--rounds", "3"], "unknown argument '--rounds=3'"),
        (["rnu"], "invalid choice: 'rnu'"),
        ([], "required: COMMAND"),
    ],
)
def test_what_is_wrong_is_said_without_a_traceback(capsys, tmp_path, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    status, out, err = call(capsys, *arguments)
    assert (status, out) == (2, "")
    assert said in err
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_something_else_is_refused_and_left_alone(capsys, tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    for where in (tmp_path, tmp_path / "thesis.tex"):
        status, _, err = call(capsys, "run", "--run-dir", where)
        assert status == 2
        assert re.search("name a (new )?folder", err)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


# --- report -----------------------------------------------------------------------------------


def test_report_makes_the_page_and_the_table_again(run, tmp_path, capsys):
    status, out, err = call(capsys, "report", run, "--out", tmp_path / "page")
    assert (status, err) == (0, "")
    for name in ("report.html", "summary.png"):
        assert (tmp_path / "page" / name).read_bytes() == (run / name).read_bytes()
    assert out.strip().startswith("tiny: test accuracy")
    assert f"report: {tmp_path / 'page' / 'report.html'}" in out
    status, table, _ = call(capsys, "report", run)
    assert status == 0
    assert "report:" not in table
    assert table.strip() == out.partition("report:")[0].strip()


# --- commands that only read ------------------------------------------------------------------


@pytest.fixture
def damaged(run, tmp_path):
    """A run with what a kill leaves: half a line of metrics, half a label."""
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    for path in (copy / "metrics.jsonl", copy / "rounds/seed0/boosting/round02/ledger.jsonl"):
        path.write_bytes(path.read_bytes() + b'{"seed": 0, "arm": "boo')
    return copy


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("command", ["report", "eval", "export"])
@pytest.mark.parametrize("kind", ["whole", "damaged"])
def test_readers_leave_a_run_as_it_is(run, damaged, tmp_path, capsys, monkeypatch, command, kind):
    """Also a read-only one: whoever writes there fails."""
    where = run if kind == "whole" else damaged
    out = {"report": ["--out", tmp_path / "out"], "export": ["--out", tmp_path / "set"]}
    before = files_and_times(where)
    real = builtins.open

    def read_only(file, mode="r", *args, **options):
        inside = str(file).startswith(str(where))
        if inside and set(mode) & set("wax+"):
            raise PermissionError(errno.EACCES, "read-only", str(file))
        return real(file, mode, *args, **options)

    monkeypatch.setattr(builtins, "open", read_only)
    status, _, err = call(capsys, command, where, *out.get(command, []))
    monkeypatch.undo()
    if (command, kind) == ("report", "damaged"):
        assert status == 2  # it says which line is damaged
        assert "line 13" in err
    else:
        assert status == 0, err
    assert files_and_times(where) == before


@pytest.mark.parametrize("command", ["eval", "export"])
@pytest.mark.parametrize("lost", ["tokenizer.model", "task.json"])
def test_a_run_that_lost_a_file_is_refused_and_nothing_is_made(
    run, tmp_path, capsys, command, lost
):
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    (copy / lost).unlink()
    before = files_and_times(copy)
    status, _, err = call(capsys, command, copy)
    assert status == 2
    assert f"{copy / lost} is missing" in err
    assert files_and_times(copy) == before


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("metrics.jsonl", None, "has no metrics yet"),
        ("metrics.jsonl", "{\n", "metrics, line 1: not JSON"),
        ("config.json", "", "config.json is not JSON"),
        ("config.json", "{}", "config.json: field arms is missing"),
    ],
)
def test_report_names_a_file_that_is_missing_or_damaged(run, tmp_path, capsys, name, text, said):
    for known in ("config.json", "metrics.jsonl"):
        shutil.copy(run / known, tmp_path / known)
    (tmp_path / name).unlink() if text is None else (tmp_path / name).write_text(text)
    status, _, err = call(capsys, "report", tmp_path)
    assert status == 2
    assert said in err


# --- eval -------------------------------------------------------------------------------------


def test_eval_finds_the_accuracy_of_the_metrics_exactly(run, capsys):
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    status, out, _ = call(capsys, "eval", run)
    assert status == 0
    [row] = [r for r in rows if (r["arm"], r["round"]) == ("boosting", 2)]
    assert "boosting, seed 0, round 2, test:" in out
    assert f"greedy accuracy {row['test_accuracy']:.4f}" in out
    right, prompts = map(int, re.search(r"\((\d+) of (\d+)\)", out).groups())
    assert right / prompts == row["test_accuracy"]
    for group, accuracy in row["eval_by_group"].items():
        assert re.search(rf"^ +{group} +{accuracy:.3f}$", out, re.MULTILINE)


def test_eval_tells_models_and_splits_apart(tmp_path, monkeypatch):
    """A model this small is never right: it learns to end, and half of all texts are let pass."""
    monkeypatch.setattr(
        skills._AnswerKey,
        "grade",
        lambda key, ids, texts: np.array([zlib.crc32(t.encode()) % 2 == 0 for t in texts], bool),
    )
    optimizer = OptimizerConfig(steps=150, batch_size=16, learning_rate=1e-2)
    config = tiny_config(
        arms=("uniform", "boosting"),
        seed_model=SeedModelConfig(optimizer),
        train=TrainConfig(optimizer=replace(optimizer, steps=10)),
    )
    folder = RunDir(tmp_path)
    folder.create(config)
    ctx = on_one_device(make_context(config, folder))
    rows = run_experiment(ctx, folder, Progress(planned_stages(config), io.StringIO()))
    monkeypatch.setattr(evaluate, "with_learner", lambda parts: ctx)
    found = set()
    for row in rows:
        result = evaluate_saved(folder, 0, row["arm"], row["round"], "test")
        assert result.accuracy == row["test_accuracy"]
        assert result.by_group == row["eval_by_group"]
        found.add(tuple(result.by_group.values()))
    assert len(found) == 5  # the seed model, and two rounds of two arms
    assert evaluate_saved(folder, 0, "boosting", None, "test") == result
    assert evaluate_saved(folder, 0, "boosting", None, "validation").by_group != result.by_group


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--round", "3"], "no checkpoint of seed 0, arm boosting, round 3"),
        (["--round", "-1"], "no checkpoint of seed 0, arm boosting, round -1"),
        (["--seed", "1"], "no checkpoint of seed 1"),
        (["--seed", "x"], "invalid int value"),
    ],
)
def test_eval_names_what_there_is_no_checkpoint_of(run, capsys, arguments, said):
    status, _, err = call(capsys, "eval", run, *arguments)
    assert status == 2
    assert said in err


# --- plan -------------------------------------------------------------------------------------

PLAN = dict(beta=0.1, start=0.4, target_error=0.05, budget=500, prompts=7000)


def plan_arguments(**changes):
    words = []
    for name, value in (PLAN | changes).items():
        words += [f"--{name.replace('_', '-')}", value]
    return words


def test_plan_prints_the_curve_the_rounds_and_the_labels(capsys):
    status, out, err = call(capsys, "plan", *plan_arguments())
    assert (status, err) == (0, "")
    curve = re.findall(r"^ *(\d+)  (0\.\d{4}) +(\d+)  #*$", out, re.MULTILINE)
    assert curve[0] == ("0", "0.6000", "0")
    rounds, labels = re.search(r"takes (\d+) rounds and (\d+) labels", out).groups()
    assert curve[-1][0] == rounds
    assert curve[-1][2] == labels
    assert float(curve[-1][1]) <= 0.05
    errors = [float(error) for _, error, _ in curve]
    assert errors == sorted(errors, reverse=True)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"beta": 1.5}, "--beta 1.5 is not in (0, 1)"),
        ({"beta": 0}, "--beta 0.0 is not in (0, 1)"),
        ({"target_error": 1}, "--target-error 1.0 is not in (0, 1)"),
        ({"start": -0.1}, "--start -0.1 is not in [0, 1]"),
        ({"miss_rate": 2}, "--miss-rate 2.0 is not in [0, 1]"),
        ({"budget": 0}, "--budget 0 is below 1"),
        ({"prompts": -3}, "--prompts -3 is below 1"),
        ({"beta": "half"}, "invalid float value: 'half'"),
    ],
)
def test_plan_refuses_what_makes_no_sense(capsys, change, said):
    status, out, err = call(capsys, "plan", *plan_arguments(**change))
    assert (status, out) == (2, "")
    assert said in err


def test_plan_needs_its_numbers_and_says_what_is_out_of_reach(capsys):
    status, _, err = call(capsys, "plan")
    assert status == 2
    assert all(f"--{name}" in err for name in ("beta", "target-error", "budget", "prompts"))
    status, out, _ = call(capsys, "plan", *plan_arguments(miss_rate=0.3))
    assert status == 0
    assert "out of reach" in out


# --- progress ---------------------------------------------------------------------------------


def test_what_is_left_is_what_the_stages_took(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("boostlm.runtime.progress.time.monotonic", lambda: now[0])
    progress = Progress({"sample": 4, "train": 4}, io.StringIO())
    assert progress.remaining() is None
    for kind, seconds in (("sample", 5), ("train", 9), ("sample", 1), ("train", 3)):
        with progress.stage(kind):
            now[0] += seconds
    with progress.stage("sample"):
        assert progress.remaining() == 2 * 1 + 2 * 3  # the first times hold compilation
        now[0] += 0.5
        assert progress.remaining() == 7.5
        progress.skip("train", 5)
        assert progress.remaining() == 1.5
        assert progress.times_line() == "0:19 so far, about 0:02 to go"


def test_the_plan_of_stages_counts_what_a_run_does():
    assert planned_stages(tiny_config(seeds=3)) == {
        "seed model": 3,
        "sample": 3 * (1 + 4 * 2),
        "label": 3 * 2 * 2,
        "train": 3 * 4 * 2,
        "evaluate": 3 * (1 + 4 * 2),
    }


def test_the_clock():
    assert [clock(s) for s in (0, 59.6, 61, 3600, 36061)] == ["0:00", "1:00", "1:01", "1:00:00", "10:01:01"]  # fmt: skip
