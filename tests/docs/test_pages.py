"""The pages are true: their commands run, their lists are complete, their names exist."""

import ast
import dataclasses
import fcntl
import importlib.util
import json
import re
import subprocess
import sys

import pytest
from docs.pages import DOCS, NOT_RUN, Place, blocks, section, table_names, text_of
from support.data_sets import REPOSITORY
from support.runs import environment

import boostlm
from boostlm.cli import main as command_line
from boostlm.cli.options import make_parser
from boostlm.config import Config
from boostlm.config_io import fields_of
from boostlm.runtime.preemption import EXIT_STATUS
from boostlm.storage.ledger import Entry
from boostlm.storage.run_dir import RoundId, RunDir

# In the order in which they are typed: the tutorial makes the run that others read.
TYPED = ("tutorial", "run_directory", "config", "command_line", "theory", "api")
PAGES = sorted(path.stem for path in DOCS.glob("*.md"))


def _load_generated():
    spec = importlib.util.spec_from_file_location("generated", DOCS / "_ext" / "generated.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


generated = _load_generated()


@pytest.fixture(scope="module")
def place(tmp_path_factory, worker_id):
    """One folder for all workers, in which the tutorial has been typed once."""
    base = tmp_path_factory.getbasetemp()
    place = Place((base if worker_id == "master" else base.parent) / "typed")
    with (place.folder / "lock").open("a") as lock, pytest.MonkeyPatch.context() as patch:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (place.folder / "typed").exists():
            patch.chdir(place.folder)
            assert place.type_page("tutorial") >= 5
            (place.folder / "typed").touch()
    return place


@pytest.fixture(scope="module")
def run(place):
    """The run directory of the tutorial."""
    return place.folder / "runs" / "tutorial"


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in TYPED if page != "tutorial"])
def test_every_block_of_a_page_runs(page, place, monkeypatch):
    monkeypatch.chdir(place.folder)
    assert place.type_page(page) > 0


def test_no_page_has_blocks_that_nobody_runs():
    for page in PAGES:
        languages = {language for language, _ in blocks(page)}
        if page not in TYPED:
            assert not languages & {"python", "bash"}, page
        assert languages <= {
            "python", "bash", "text", "{code-cell}", "{eval-rst}", "{toctree}", "{image}",
        }, page  # fmt: skip
    typed = "\n".join(text for page in TYPED for _, text in blocks(page)).splitlines()
    assert set(NOT_RUN) <= set(typed)


# The run directory


def _open_ended(name):
    """Fields whose keys depend on the task and the settings."""
    return name.endswith("_by_group") or name in (
        "eval_pass",
        "train_pass",
        "alarms",
        "labels_unanswered",
    )


def _names(row, prefix=""):
    for key, value in row.items():
        yield prefix + key
        if isinstance(value, dict) and not _open_ended(key):
            yield from _names(value, f"{prefix}{key}.")


@pytest.mark.slow
def test_every_field_of_a_row_of_metrics_is_documented(run):
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    found = {name for row in rows for name in _names(row)}
    listed = table_names(section(text_of("run_directory"), "## metrics.jsonl"))
    assert len(listed) == len(set(listed))
    assert set(listed) == found
    assert all(row.keys() == rows[0].keys() for row in rows)  # as the page says


@pytest.mark.slow
def test_every_field_of_a_ledger_entry_is_documented(run):
    ledger = run / "rounds/seed0/boosting/round01/ledger.jsonl"
    entries = [json.loads(line) for line in ledger.read_text().splitlines()]
    listed = table_names(section(text_of("run_directory"), "## ledger.jsonl"))
    assert listed == [field.name for field in dataclasses.fields(Entry)]
    assert all(list(entry) == listed for entry in entries)


@pytest.mark.slow
def test_the_tree_shows_every_file_of_a_run_and_no_other(run):
    tree = dict(blocks("run_directory"))["text"].splitlines()
    shown = [re.split(r"\s{2,}", line.strip())[0] for line in tree]
    listed = {name for line in shown for name in re.split(r", |/", line) if name}
    found = {p.name for p in run.rglob("*") if "checkpoint" not in p.parent.parts}
    found -= {p.name for p in run.rglob("checkpoint/**/*")}
    assert found - listed == {"seed1", "do_nothing", "filter_only", "uniform", "round03"}
    sometimes = {"people", "queue.jsonl", "queue.csv", "asked.jsonl", "answers.jsonl"}
    sometimes |= {
        "partial_samples.npz",
        "partial_training",
        "runs",
        "tutorial",
        "...",
        "shared+sample.k=4",
    }
    assert listed - found == sometimes
    in_round = {path.name for path in RunDir(run).round_dir(RoundId(0, "boosting", 1))}
    assert in_round <= listed


@pytest.mark.slow
def test_the_tutorial_explains_every_section_of_the_report_in_order(run):
    headings = re.findall(r"<h2>(.*?)</h2>", (run / "report.html").read_text())
    explained = re.findall(
        r"^### (.*)$", section(text_of("tutorial"), "## Read the report"), re.MULTILINE
    )
    assert explained == headings


# The command line and the config


def test_the_exit_statuses_are_those_of_main():
    listed = re.findall(
        r"^\| (\d+) \|", section(text_of("command_line"), "## Exit status"), re.MULTILINE
    )
    said = re.findall(r"\b\d+\b", command_line.main.__doc__)
    assert sorted(listed) == sorted(said)
    assert str(EXIT_STATUS) in listed


def test_every_command_and_option_is_on_the_page():
    page = generated.fill_in(text_of("command_line"))
    for name, parser in generated.subparsers().items():
        part = section(page, f"## `boostlm {name}`")
        for action in parser._actions:
            shown = action.option_strings[-1] if action.option_strings else action.dest.upper()
            assert shown == "--help" or f"| `{shown}" in part, (name, shown)
    assert make_parser().epilog.strip().splitlines()[-1].strip() in page


def test_the_plan_that_is_shown_is_that_of_the_command_above_it():
    (command,) = [text for language, text in blocks("theory") if language == "bash"]
    assert f'"{command.strip().removeprefix("boostlm ")}"' in text_of("theory")


def test_every_config_field_is_on_the_page_with_its_default_and_comment():
    page = generated.fill_in(text_of("config"))
    rows = re.findall(r"^\| `([\w.]+)` \| (.*?) \| (.+) \|$", page, re.MULTILINE)
    values = fields_of(Config())
    assert sorted(name for name, *_ in rows) == sorted(values)
    for name, default, comment in rows:
        value = values[name]
        if isinstance(value, float):
            assert float(default.strip("`")) == pytest.approx(value, rel=1e-5)
        assert comment.strip()


# The code


def test_imports_run_one_way():
    order = generated.ROOMS
    listed = blocks("architecture")[0][1]
    assert re.findall(r"\w+", re.sub(r"\s{3,}.*", "", listed, flags=re.MULTILINE)) == list(order)
    for path in sorted(generated.PACKAGE.rglob("*.py")):
        room = path.relative_to(generated.PACKAGE).parts[0].removesuffix(".py")
        if room in ("__init__", "__main__"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            for name in _imported(node):
                assert order.index(name) <= order.index(room), f"{path} imports {name}"


def _imported(node):
    """The rooms that an import statement names."""
    if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("boostlm."):
        yield node.module.split(".")[1]
    elif isinstance(node, ast.ImportFrom) and node.module == "boostlm":
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.Import):
        names = (alias.name.split(".") for alias in node.names)
        yield from (name[1] for name in names if name[0] == "boostlm" and len(name) > 1)


def test_every_file_and_function_that_a_page_names_exists():
    named = 0
    for page in PAGES:
        for path in re.findall(r"`([a-z_]+/[\w/]+\.py)`", text_of(page)):
            folders = (generated.PACKAGE, DOCS.parent)
            assert any((folder / path).exists() for folder in folders), (page, path)
        for name, path in re.findall(r"`([\w.]+)`\s(?:\(|in\s)`([\w/]+\.py)`", text_of(page)):
            source = (generated.PACKAGE / path).read_text()
            assert re.search(rf"^ *(def|class) {name.split('.')[-1]}\b", source, re.MULTILINE), name
            named += 1
    assert named >= 10


def test_every_file_has_its_line_in_the_architecture():
    page = generated.fill_in(text_of("architecture"))
    for path in generated.PACKAGE.rglob("*.py"):
        if path.name not in ("__init__.py", "__main__.py"):
            assert f"{path.name}` |" in page, path


def test_every_public_name_is_in_the_reference():
    page = text_of("api")
    for name in boostlm.__all__:
        where = getattr(getattr(boostlm, name), "__name__", "")
        assert re.search(rf"^\.\. auto\w+:: .*\b({name}|{re.escape(where or name)})$", page, re.M)


def test_every_letter_of_the_legend_is_in_the_glossary():
    legend = boostlm.__doc__.partition("Shapes are part of names")[2]
    letters = set(re.findall(r"(?<![\w\[])([A-Z]) (?=[a-z])", legend))
    assert {"N", "K", "R", "L", "V"} <= letters
    table = section(text_of("glossary"), "## Shape suffixes")
    assert letters <= set(re.findall(r"^\| ([A-Z]) \|", table, re.MULTILINE))


# The site


def test_every_page_is_in_the_table_of_contents():
    index = generated.fill_in(text_of("index"))
    trees = re.findall(r"^```\{toctree\}\n(.*?)^```$", index, re.DOTALL | re.MULTILINE)
    lines = "\n".join(trees).splitlines()
    listed = [line for line in lines if line and not line.startswith(":")]
    found = [
        p for p in DOCS.rglob("*.*") if p.suffix in (".md", ".ipynb") and "_build" not in p.parts
    ]
    names = {p.relative_to(DOCS).with_suffix("").as_posix() for p in found}
    assert sorted(listed) == sorted(names - {"index"})
    assert not [p for p in found if "orphan" in p.read_text()]


def test_every_link_between_pages_leads_to_a_page():
    links = [
        (page, link)
        for page in sorted(DOCS.rglob("*.md"))
        for link in re.findall(r"\]\(((?!https?:)[^)#\s]+)", page.read_text())
    ]
    assert len(links) >= 25
    assert not [(page, link) for page, link in links if not (page.parent / link).exists()]


@pytest.mark.slow
def test_the_site_builds_without_warnings_and_loads_nothing_from_elsewhere(tmp_path):
    for name in ("sphinx", "myst_nb", "furo", "sphinx_copybutton"):
        pytest.importorskip(name, reason="pip install '.[docs]'")
    command = re.search(r"`python (-m sphinx .*)/html`", text_of("architecture"))[1]
    words = command.replace("docs/_build", str(tmp_path / "site")).split()
    done = subprocess.run(
        [sys.executable, *words], cwd=REPOSITORY, env=environment(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    pages = list((tmp_path / "site").glob("*.html"))
    assert {f"{page}.html" for page in PAGES} <= {path.name for path in pages}
    for path in pages:
        html = path.read_text()
        assert not re.findall(r"<(?:script|img|iframe)[^>]*src=\"https?:", html), path
        assert not re.findall(r"<link[^>]*rel=\"stylesheet\"[^>]*href=\"https?:", html), path
        assert "<!-- generated" not in html
