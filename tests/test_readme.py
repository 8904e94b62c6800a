"""The README says what is there."""

import contextlib
import io
import re
import subprocess
from pathlib import Path

import boostlm

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def test_the_example_prints_what_it_says():
    code = re.search(r"```python\n(.*?)```", README, re.DOTALL)[1]
    expected = re.search(r"print\(.*\)\s+# (.*)", code)[1]
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(code, "README.md", "exec"), {})
    assert out.getvalue().strip() == expected


def test_every_module_is_in_the_file_tree():
    tree = re.search(r"## Files\n\n```\n(.*?)```", README, re.DOTALL)[1]
    listed = set(re.findall(r"(\w+\.py)", tree)) | set(re.findall(r"^  (\w+)/", tree, re.MULTILINE))
    for path in (ROOT / "boostlm").rglob("*.py"):
        if path.name in ("__init__.py", "__main__.py"):
            continue
        assert path.name in listed or path.parent.name in ("report", "sandbox"), path
    for name in re.findall(r"(\w+\.py)", tree):
        assert list((ROOT / "boostlm").rglob(name)), f"{name} is listed and does not exist"


def test_the_public_list_is_importable_and_documented():
    for name in boostlm.__all__:
        assert name in boostlm.__doc__, f"{name} is not in the package's list"
        thing = getattr(boostlm, name)
        assert isinstance(thing, dict) or thing.__doc__, f"{name} has no docstring"


def test_ci_runs_the_readmes_test_command():
    text = (ROOT / ".ci" / "run").read_text()
    find = re.search(r"\$\((grep .*)\)", text)[1]
    out = subprocess.run(["bash", "-c", find], cwd=ROOT, capture_output=True, text=True, check=True)
    commands = out.stdout.strip().split("\n")
    assert len(commands) == 1
    assert commands[0].startswith("python3 -m venv")
    assert commands[0] in README
