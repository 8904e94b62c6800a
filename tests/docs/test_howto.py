"""The how-to pages: their commands are typed in tiny runs.

What needs a TPU is given to the real parser; what needs Google Cloud runs against a stand-in.
"""

import csv
import dataclasses
import inspect
import json
import os
import re
import shlex
import shutil
import subprocess

import numpy as np
import pytest
from docs.pages import DOCS, Place, blocks, section, shell_blocks, text_of
from support.chat_server import KEY, completion, serving
from support.data_sets import REPOSITORY
from support.runs import ledger_files, rows_of, tiny_config
from support.tiny_gemma import tiny_gemma, write_directory
from test_tpu_scripts import Cloud, write

from boostlm import Arm
from boostlm.aot.chips import CHIPS
from boostlm.aot.sizes import named_sizes
from boostlm.cli.main import _join_values, main
from boostlm.cli.options import make_parser
from boostlm.config import VERIFIERS, Config, DataConfig
from boostlm.config_io import override
from boostlm.curation.arms import DATA, LABELS, OWN, START
from boostlm.engine.tokenizer import train_tokenizer
from boostlm.errors import BoostError
from boostlm.experiment.context import make_context
from boostlm.storage.run_dir import RunDir
from boostlm.tasks.base import Task
from boostlm.tasks.skills import SkillsTask

HOWTO = sorted(f"howto/{path.stem}" for path in (DOCS / "howto").glob("*.md"))
# Every shell block of the pages, by its first line: what becomes of it here.
TYPED = (
    CHECK
    := "boostlm check sums.jsonl --prompt question --answer answer --verifier number --group kind",
    OWN_DATA := "boostlm run --data.task jsonl --data.path sums.jsonl --data.prompt question "
    "--data.answer answer \\",
    CONVERT := "boostlm convert google/gemma-2-2b models/gemma2-2b",
    TURN_BACK := "boostlm convert runs/gsm8k_gemma2_2b out/gsm8k --to huggingface --arm boosting",
    EXPORT := "boostlm export runs/skills --arm boosting --round 2 --out set.jsonl",
    LABELER := "boostlm run --label.labeler examples/own_labeler.py:program --run-dir runs/program",
    PEOPLE := "boostlm run --label.labeler people --run-dir runs/people",
    SERVER := "export OPENAI_API_KEY=...",
    ARMS
    := "boostlm run --run-dir runs/arms --arms 'filter_only,uniform,boosting,boosting(label.beta=0.1),oracle'",
    GROWN
    := "boostlm run --run-dir runs/arms --rounds 7 --arms 'filter_only,uniform,boosting,boosting(label.beta=0.1),oracle,star'",
    OWN_ARM := "boostlm run --arms boosting,examples/own_arm.py:patient --run-dir runs/patient",
    OWN_TASK := "boostlm run --data.task examples/own_task.py:Sums --run-dir runs/sums",
)
PARSED = ("pip install '.[tpu]'",)
SMALL = " --rounds 1 --arms boosting"


def block(page, first):
    """The block of a page that begins with a line."""
    (found,) = [text for text in shell_blocks(page) if text.startswith(f"{first}\n")]
    return found


@pytest.fixture
def place(tmp_path):
    """A folder in which examples/ and configs/ are, as in a clone of the repository."""
    for name in ("examples", "configs"):
        shutil.copytree(REPOSITORY / name, tmp_path / name)
    return Place(tmp_path)


def test_every_block_is_typed_or_parsed():
    firsts = [text.split("\n")[0] for page in HOWTO for text in shell_blocks(page)]
    assert sorted(firsts) == sorted([*TYPED, *PARSED])


# own_data.md


@pytest.mark.slow
def test_own_data(place):
    (line,) = [text for kind, text in blocks("howto/own_data") if kind == "json"]
    row = json.loads(line)
    assert sum(map(int, re.findall(r"\d+", row["question"]))) == row["answer"]
    made = [(a, b) for a in range(20) for b in range(10)]
    rows = [row | {"question": f"What is {a} + {b}?", "answer": a + b} for a, b in made]
    (place.folder / "sums.jsonl").write_text("\n".join(map(json.dumps, rows)))
    said = place.bash(block("howto/own_data", CHECK))
    assert "140 train, 30 validation, 30 test" in said
    assert "nothing is wrong" in said
    place.bash(block("howto/own_data", OWN_DATA).strip() + SMALL)
    task = json.loads((place.folder / "runs" / "sums" / "task.json").read_text())
    assert (task["name"], task["train prompts"]["number"]) == ("jsonl", 100)


def test_own_data_names_every_verifier():
    named = re.findall(r"^\| `([\w.:]+)` \|", text_of("howto/own_data"), re.M)
    assert sorted(named) == sorted([*VERIFIERS, "FILE.py:NAME"])


# own_task.md


@pytest.mark.slow
def test_own_task(place):
    place.bash(block("howto/own_task", OWN_TASK).strip() + SMALL)
    run = place.folder / "runs" / "sums"
    assert json.loads((run / "task.json").read_text())["name"] == "sums"
    assert (run / "report.html").exists()
    groups = rows_of(run)[-1]["eval_by_group"]  # "the report shows accuracy by group"
    assert groups
    assert all(re.fullmatch(r"\d0s", group) for group in groups)


def test_own_task_names_every_member():
    members = set(Task.__annotations__) | {n for n, _ in inspect.getmembers(Task)}
    (sentence,) = re.findall(r"Optional members are (.*?)\. The", text_of("howto/own_task"), re.S)
    named = set(re.findall(r"`(\w+)(?:\([^`]*\))?`", sentence))
    assert len(named) >= 6
    assert named <= members


LONG = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen"
SPOILT = {
    "the file my_task.py does not exist": None,
    "has no Sums": lambda text: text.replace("class Sums", "class Others"),
    "does not run: ": lambda text: f"{text}\n1 / 0\n",
    "prompts['test'] is missing": lambda text: text.replace(
        "for split in SPLITS\n", "for split in SPLITS[:2]\n"
    ),
    "share 13 words in a row": lambda text: text.replace(
        'f"{a}+{b}="', f'f"{LONG} {{a}}+{{b}}="', 1
    ),
    "has 40 tokens, more than data.max_prompt_tokens": lambda text: text.replace(
        'f"{a}+{b}="', 'f"{a}+{b}=".rjust(39, "+")', 1
    ),
}


@pytest.mark.parametrize("said", SPOILT)
def test_own_task_shows_the_errors_as_they_are(said, tmp_path, monkeypatch):
    lines = section(text_of("howto/own_task"), "## Errors you may see").splitlines()
    shown = [span for line in lines for span in re.findall(r"`([^`]+)`", line)]
    assert {span.removesuffix("...") for span in shown} == set(SPOILT)
    monkeypatch.chdir(tmp_path)
    if spoil := SPOILT[said]:
        good = (REPOSITORY / "examples" / "own_task.py").read_text()
        assert spoil(good) != good
        (tmp_path / "my_task.py").write_text(spoil(good))
    data = DataConfig(task="my_task.py:Sums", train_prompts=24, eval_prompts=24)
    with pytest.raises(BoostError, match=re.escape(said)):
        make_context(tiny_config(data=data), RunDir(tmp_path / "run"))


# own_arm.md


@pytest.mark.slow
def test_arms_are_compared_and_a_run_grows(place):
    """The commands of the page, with 1 round and then 2 for 5 and 7."""
    for first, rounds in zip((ARMS, GROWN), ("--rounds 1", "--rounds 2"), strict=True):
        typed = block("howto/own_arm", first).strip().replace(" --rounds 7", "")
        place.bash(f"{typed} {rounds}")
    run = place.folder / "runs" / "arms"
    arms = ["filter_only", "uniform", "boosting", "boosting(label.beta=0.1)", "oracle", "star"]
    assert [(r["arm"], r["round"]) for r in rows_of(run)] == [
        (a, r) for a in arms for r in range(3)
    ]
    assert (run / "rounds/seed0/boosting+label.beta=0.1/round02/ledger.jsonl").exists()


@pytest.mark.slow
def test_own_arm(place):
    place.bash(block("howto/own_arm", OWN_ARM).strip() + " --rounds 2")
    run = place.folder / "runs" / "patient"
    accepted = [
        np.load(run / "rounds/seed0" / name / "verdicts.npz")["accepted"].any(axis=1)
        for name in ("shared/round00", "patient/round01")
    ]
    again = ~accepted[0] & ~accepted[1]
    assert 0 < again.sum() < (~accepted[1]).sum()
    (file,) = [f for f in ledger_files(run, "patient") if f.parent.name == "round02"]
    asked = {json.loads(line)["prompt"] for line in file.read_text().splitlines()}
    assert asked <= set(np.flatnonzero(again).tolist())
    config = json.loads((run / "config.json").read_text())
    assert config["arms"][1] == (
        "patient=Arm(labels=examples/own_arm.py:long_failing,train.alpha=0.5)"
    )


def test_own_arm_names_every_choice():
    choices = {f.name for f in dataclasses.fields(Arm)} - {"name", "overrides"}
    table = text_of("howto/own_arm").partition("| Choice | Values |")[2].partition("\n\n")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == choices
    named = set(re.findall(r"`(\w+)`", table))
    assert {*OWN, *LABELS, *START, *DATA} <= named


# own_labeler.md


def entries(run):
    return [
        json.loads(line) for file in ledger_files(run) for line in file.read_text().splitlines()
    ]


@pytest.mark.slow
def test_own_labeler(place):
    place.bash(block("howto/own_labeler", LABELER).strip() + SMALL)
    bought = entries(place.folder / "runs" / "program")
    assert len(bought) == tiny_config().label.budget
    assert {entry["source"] for entry in bought} == {"program"}


@pytest.mark.slow
def test_people(place):
    command = block("howto/own_labeler", PEOPLE).strip() + SMALL
    place.bash(command, status=3)
    folder = place.folder / "runs" / "people" / "people"
    assert (folder / "queue.jsonl").exists()
    with open(folder / "queue.csv", encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    with open(place.folder / "FILLED.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows([row | {"answer": "abc"} for row in rows])
    spans = re.findall(r"`(boostlm label [^`]+)`", text_of("howto/own_labeler"))
    (read,) = [" ".join(span.split()) for span in spans if "--from" in span]
    place.bash(read)
    place.bash(command)
    bought = entries(place.folder / "runs" / "people")
    assert len(bought) == tiny_config().label.budget
    assert {entry["text"] for entry in bought} == {"abc"}


@pytest.mark.slow
def test_a_server(place):
    text = block("howto/own_labeler", SERVER).strip()
    with serving(lambda number, body: completion("abc")) as server:
        for old, new in {
            "OPENAI_API_KEY=...": f"OPENAI_API_KEY={KEY}",
            "http://localhost:8000/v1": server.url,
        }.items():
            assert old in text
            text = text.replace(old, new)
        place.bash(text + SMALL)
        assert set(server.keys) == {f"Bearer {KEY}"}
        assert {body["model"] for body in server.asked} == {"NAME"}
    run = place.folder / "runs" / "asked"
    assert len(entries(run)) == tiny_config().label.budget
    files = [path for path in run.rglob("*") if path.is_file()]
    assert len(files) > 10
    assert not [path for path in files if KEY.encode() in path.read_bytes()]  # "never written"


# models_and_export.md


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_models(place):
    pytest.importorskip("safetensors", reason="conversion needs the extra `convert`")
    hugging_face(place.folder / "google" / "gemma-2-2b")
    convert = block("howto/models_and_export", CONVERT).strip()
    # The run is that of the page, on a task that needs no data.
    place.bash(f"{convert} --data.task skills --data.few_shot= {SMALL} --seeds 1")
    place.bash(block("howto/models_and_export", TURN_BACK))
    saved = json.loads((place.folder / "out" / "gsm8k" / "config.json").read_text())
    assert saved["architectures"] == ["Gemma2ForCausalLM"]


def hugging_face(folder):
    """A directory as of google/gemma-2-2b, with a tiny model that knows the embedded task's texts."""
    config = tiny_config()
    tokenizer = train_tokenizer(config.tokenizer, SkillsTask(config.data).tokenizer_texts())
    write_directory(folder, tiny_gemma("gemma2", tokenizer))


@pytest.mark.slow
def test_export(place):
    place.bash("boostlm run --arms boosting")
    run = place.folder / "runs" / "skills"
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    place.bash(block("howto/models_and_export", EXPORT))
    rows = [json.loads(line) for line in (place.folder / "set.jsonl").read_text().splitlines()]
    assert sum(row["weight"] for row in rows) == pytest.approx(1)
    assert {row["source"] for row in rows} == {"own sample", "simulated"}
    assert {row["round"] for row in rows} == {2}
    assert before == {path: path.stat().st_mtime_ns for path in run.rglob("*")}


# tpu.md


def test_the_compile_command_gets_to_the_compiler(monkeypatch):
    (line,) = [x for x in block("howto/tpu", PARSED[0]).splitlines() if x.startswith("boostlm ")]
    asked = {}

    def compile_for(config, topology, **options):
        asked.update(options, config=config, topology=topology)

    monkeypatch.setattr("boostlm.aot.command.compile_for", compile_for)
    monkeypatch.chdir(REPOSITORY)
    assert main(shlex.split(line)[1:]) == 0
    assert asked["config"].name == "gsm8k_gemma2_2b"
    assert asked["topology"].partition(":")[0] in CHIPS
    assert named_sizes(asked["config"], asked["model"], None, None).vocab_size == 256_000
    assert (asked["price"], asked["quick"]) == (1.2, True)


def test_the_variables_of_other_clusters_are_those_that_are_read():
    source = (REPOSITORY / "boostlm" / "runtime" / "join_hosts.py").read_text()
    names = set(re.findall(r"\bJAX_[A-Z_]+\b", text_of("howto/tpu")))
    assert len(names) == 3
    assert {name for name in names if name in source} == names


@pytest.mark.slow
def test_the_scripts_in_the_order_of_their_readme(tmp_path):
    """From an empty project to the report, against a stand-in for Google Cloud."""
    cloud, work = Cloud(tmp_path), tmp_path / "work"
    work.mkdir()
    (work / "tpu_scripts").symlink_to(REPOSITORY / "tpu_scripts")
    cloud.program('echo "args:" "${@@Q}"')
    bucket = tmp_path / "gs" / "my-bucket"
    write(bucket / "boostlm-0.1.0-py3-none-any.whl", "wheel")
    write(bucket / "runs" / "first" / "report.html", "report")
    readme = (REPOSITORY / "tpu_scripts" / "README.md").read_text()
    once, run = (
        re.search(r"```\n(.*?)```", section(readme, heading), re.DOTALL)[1]
        for heading in ("## Once for a project", "## The run")
    )
    wanted, rest = run.split("tpu_scripts/setup.sh")
    started, deleted = rest.split("tpu_scripts/delete.sh")
    logs = bucket / "logs" / "tpu-1"
    ended = f"cat {logs}/*.log | grep -c 'ended with status 0'"
    wait = f"while [ $({ended}) != 2 ]; do sleep 0.1; done"

    def typed(text):
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", once + text],
            cwd=work,
            env=cloud_environment(cloud),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    write(tmp_path / "replies.json", json.dumps([("describe", "PROVISIONING\n", "", 0)]))
    assert "tpu-1: PROVISIONING" in typed(wanted)
    cloud.replies()
    try:
        typed(f"tpu_scripts/setup.sh{started}{wait}\ntpu_scripts/delete.sh{deleted}")
    finally:
        cloud("stop", "--project=p", "--zone=z", "--name=tpu-1")
    assert (work / "report.html").read_text() == "report"
    asked = [" ".join(call) for call in cloud.calls]
    assert [a for a in asked if "queued-resources create tpu-1" in a and "--spot" in a]
    assert [a for a in asked if "queued-resources delete tpu-1" in a]
    (words, again) = (
        shlex.split(log.read_text().splitlines()[0])[1:] for log in sorted(logs.glob("*.log"))
    )
    assert words == again
    args, rest = make_parser().parse_known_args(_join_values(words))
    assert args.run_dir == "gs://my-bucket/runs/first"
    config = override(Config(), rest, also=("run-dir",))
    assert config.data.path == "gs://my-bucket/data"


def cloud_environment(cloud):
    kept = {k: v for k, v in os.environ.items() if not k.startswith("BOOSTLM_")}
    return kept | {"PATH": f"{cloud.bin}:{os.environ['PATH']}", "CLOUD": str(cloud.root)}
