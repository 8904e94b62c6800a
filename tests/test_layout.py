"""The layout holds: imports run one way, no name stands for two things, no folder is too large."""

import ast
from collections import Counter, defaultdict
from pathlib import Path

import pytest
from mutations import MUTATIONS

import boostlm

PACKAGE = Path(boostlm.__file__).parent

# A module imports from its own place in this list, or from an earlier one.
ROOMS = (
    "errors",
    "user_code",
    "config",
    "config_checks",
    "numerics",
    "prng",
    "curation",
    "config_io",
    "lm",
    "runtime",
    "storage",
    "engine",
    "pretrained",
    "sandbox",
    "verifiers",
    "tasks",
    "labelers",
    "statistics",
    "experiment",
    "report",
    "aot",
    "cli",
    "__main__",
)
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def name_of(path):
    return path.relative_to(PACKAGE).with_suffix("").as_posix().removesuffix("/__init__")


def imported(path):
    """The modules of the package that a file imports, wherever in the file, as a/b."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [n if is_module(n) else node.module for n in inner]
        found |= {
            n.removeprefix("boostlm.").replace(".", "/") for n in names if n.startswith("boostlm.")
        }
    return found


def is_module(dotted):
    path = PACKAGE.parent / dotted.replace(".", "/")
    return path.with_suffix(".py").exists() or (path / "__init__.py").exists()


def test_every_room_is_in_the_list():
    rooms = {name_of(path).split("/")[0] for path in MODULES}
    assert rooms == set(ROOMS)


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_no_import_runs_up(path):
    own = ROOMS.index(name_of(path).split("/")[0])
    for other in imported(path):
        if other != "boostlm":
            assert ROOMS.index(other.split("/")[0]) <= own, f"{name_of(path)} imports {other}"


def test_no_circle():
    waiting = {name_of(path): imported(path) & {name_of(p) for p in MODULES} for path in MODULES}
    while waiting:
        free = [name for name, needs in waiting.items() if not needs & waiting.keys() - {name}]
        assert free, f"a circle among {sorted(waiting)}"
        for name in free:
            del waiting[name]


def test_no_folder_has_more_than_15_percent_of_the_code():
    lines = Counter()
    for path in PACKAGE.rglob("*.py"):
        count = len(path.read_text().splitlines())
        lines["all"] += count
        lines[name_of(path).split("/")[0]] += count
    largest, size = Counter({room: lines[room] for room in ROOMS}).most_common(1)[0]
    assert size <= 0.15 * lines["all"], f"{largest} has {size} of {lines['all']} lines"


def test_no_file_is_long_and_no_function_is():
    for path in MODULES:
        text = path.read_text()
        assert text.count("\n") <= 350, path
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                assert node.end_lineno - node.lineno < 80, f"{path}: {node.name}"


def test_no_public_name_is_defined_twice():
    places = defaultdict(list)
    for path in MODULES:
        for node in ast.parse(path.read_text()).body:
            names = []
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                names = [node.name]
            elif isinstance(node, ast.Assign):
                names = [target.id for target in node.targets if isinstance(target, ast.Name)]
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                names = [node.target.id]
            for name in names:
                if not name.startswith("_"):
                    places[name].append(name_of(path))
    assert {name: at for name, at in places.items() if len(at) > 1} == {}


def test_every_mutation_has_a_text_to_change():
    for name, mutation in MUTATIONS.items():
        assert mutation.old in (PACKAGE / mutation.file).read_text(), name
