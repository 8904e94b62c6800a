"""What the README says is true."""

import contextlib
import io
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

import boostlm

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


@pytest.mark.slow
def test_the_example_prints_what_it_says():
    code = re.search(r"```python\n(.*?)```", README, re.DOTALL)[1]
    expected = re.search(r"print\(.*\)\s+# (.*)", code)[1]
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(code, "README.md", "exec"), {})
    assert out.getvalue().strip() == expected


def test_it_is_short_and_every_link_leads_somewhere():
    assert README.count("\n") <= 150
    links = re.findall(r"\]\(((?!http)[^)#]+)\)", README)
    assert len(links) > 10
    for link in links:
        assert (ROOT / link).exists(), link


def test_the_public_list_is_importable_and_documented():
    for name in boostlm.__all__:
        assert name in boostlm.__doc__, f"{name} is not in the package's list"
        thing = getattr(boostlm, name)
        assert isinstance(thing, dict) or thing.__doc__, f"{name} has no docstring"


def test_the_package_loads_names_when_they_are_used():
    """The list for type checkers and the list for `__getattr__` are the same."""
    source = (ROOT / "boostlm" / "__init__.py").read_text()
    for_checkers = set(re.findall(r"^    from [\w.]+ import \w+ as (\w+)$", source, re.MULTILINE))
    assert for_checkers == set(boostlm.__all__) <= set(dir(boostlm))
    with pytest.raises(AttributeError, match="nothing"):
        boostlm.nothing  # noqa: B018


def seconds(*words):
    began = time.monotonic()
    subprocess.run([sys.executable, *words], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - began


@pytest.mark.slow
def test_the_import_and_the_help_are_quick():
    """At best, of several tries: other work on the machine may slow down any of them."""
    check = "import boostlm, sys; assert not {'jax', 'numpy'} & set(sys.modules)"
    for _ in range(20):
        alone, imported = seconds("-c", "pass"), seconds("-c", check)
        if imported - alone < 0.1 and seconds("-m", "boostlm", "--help") < 0.3:
            return
    raise AssertionError(f"import boostlm takes {imported - alone:.2f} s")


def test_ci_runs_the_readmes_test_command():
    text = (ROOT / ".ci" / "run").read_text()
    find = re.search(r"\$\((grep .*)\)", text)[1]
    out = subprocess.run(["bash", "-c", find], cwd=ROOT, capture_output=True, text=True, check=True)
    commands = out.stdout.strip().split("\n")
    assert len(commands) == 1
    assert commands[0].startswith("python3 -m venv")
    assert commands[0] in README
