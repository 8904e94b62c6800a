"""The pages of the documentation, and a place where what they say can be typed."""

import os
import re
import subprocess
import sys
from pathlib import Path

from support.data_sets import REPOSITORY
from support.runs import as_options, environment, tiny_config

from boostlm.config import Config

DOCS = Path(REPOSITORY) / "docs"
# Lines that a reader types and the tests do not.
NOT_RUN = {
    "python3 -m venv .venv": "the tests are installed already",
    "source .venv/bin/activate": "likewise",
    "pip install .": "likewise; README's test command installs from a clean checkout",
}
# A stand-in for the installed command: a run gets the settings of a run that takes seconds,
# unless the page sets them. A pretrained model brings its own sizes.
_SHIM = """#!{python}
import sys
from boostlm.cli.main import main
words, small = sys.argv[1:], {small}
if words[0] == "run":
    given = [word.partition("=")[0] for word in words]
    if "--seed_model.path" in given:
        small = [(n, v) for n, v in small if not n.startswith(("--model.", "--seed_model."))]
    words += [f"{{name}}={{value}}" for name, value in small if name not in given]
sys.exit(main(words))
"""


def text_of(page):
    return (DOCS / f"{page}.md").read_text()


def blocks(page):
    """The fenced blocks of a page: (language, text)."""
    return re.findall(r"^```([\w{}-]*)[^\n]*\n(.*?)^```$", text_of(page), re.DOTALL | re.MULTILINE)


def shell_blocks(page):
    """The shell blocks of a page, also those that a list indents."""
    found = re.findall(r"^( *)```bash\n(.*?)^\1```$", text_of(page), re.DOTALL | re.MULTILINE)
    return [re.sub(rf"^{indent}", "", text, flags=re.MULTILINE) for indent, text in found]


def section(text, heading):
    """The part of a page below a heading, up to the next one of its level."""
    level = heading.split(" ")[0]
    _, found, rest = f"\n{text}".partition(f"\n{heading}\n")
    assert found, f"there is no heading {heading!r}"
    return re.split(rf"^{level} ", rest, flags=re.MULTILINE)[0]


def table_names(text):
    """The first column of the tables in a text, without backticks."""
    return re.findall(r"^\| `([^`]+)` \|", text, re.MULTILINE)


class Place:
    """A folder in which pages are typed one after another, as a reader would."""

    def __init__(self, folder):
        self.folder = folder
        (folder / "bin").mkdir(parents=True, exist_ok=True)
        shim = folder / "bin" / "boostlm"
        options = as_options(tiny_config(name=Config().name))
        small = list(zip(options[::2], options[1::2], strict=True))
        if not shim.exists():  # another worker may be running it
            new = shim.with_name(f"boostlm-{os.getpid()}")
            new.write_text(_SHIM.format(python=sys.executable, small=small))
            new.chmod(0o755)
            new.rename(shim)

    def bash(self, text, status=0, **variables):
        """Runs lines of a shell; returns what they print."""
        env = environment() | variables
        env["PATH"] = f"{self.folder / 'bin'}{os.pathsep}{env['PATH']}"
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", text],
            cwd=self.folder,
            env=env,
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert done.returncode == status, f"{text}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def type_page(self, page):
        """Runs every python and bash block of a page, in order; returns how many."""
        names, typed = {}, 0
        for language, text in blocks(page):
            if language == "python":
                if file := re.match(r"# (\w+\.py)\n", text):
                    (self.folder / file[1]).write_text(text)
                exec(compile(text, f"{page}.md", "exec"), names)
            elif language == "bash":
                lines = [line for line in text.splitlines() if line not in NOT_RUN]
                self.bash("\n".join(lines))
            else:
                continue
            typed += 1
        return typed
