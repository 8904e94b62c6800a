"""The pages of the documentation, and a place where what they say can be typed."""

import contextlib
import io
import os
import re
import shlex
import subprocess
from pathlib import Path
from unittest import mock

from support.data_sets import REPOSITORY
from support.runs import as_options, tiny_config

from boostlm.cli.main import main
from boostlm.config import Config

DOCS = Path(REPOSITORY) / "docs"
# Lines that a reader types and the tests do not.
NOT_RUN = {
    "python3 -m venv .venv": "the tests are installed already",
    "source .venv/bin/activate": "likewise",
    "pip install .": "likewise; README's test command installs from a clean checkout",
}
# A run gets the settings of a run that takes seconds, unless the page sets them.
_OPTIONS = as_options(tiny_config(name=Config().name))
SMALL = dict(zip(_OPTIONS[::2], _OPTIONS[1::2], strict=True))


def _small(words):
    """The words of a run with SMALL; a pretrained model brings its own sizes."""
    given = {word.partition("=")[0] for word in words}
    own = ("--model.", "--seed_model.") if "--seed_model.path" in given else ()
    added = [f"{n}={v}" for n, v in SMALL.items() if n not in given and not n.startswith(own)]
    return [*words, *added] if words[0] == "run" else words


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


def _other(line):
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True)
    print(done.stdout, done.stderr)
    return done.returncode


def joined(text):
    """The lines of a block, those that a backslash continues as one."""
    return text.replace("\\\n", "").splitlines()


class Place:
    """A folder in which pages are typed one after another, as a reader would."""

    def __init__(self, folder):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def bash(self, text, status=0):
        """Types lines, until one ends with another status; `boostlm` runs in this process."""
        printed = io.StringIO()
        with contextlib.chdir(self.folder), mock.patch.dict(os.environ):
            for line in joined(text.strip()):
                words = shlex.split(line)
                if words[0] == "export":
                    os.environ |= dict(word.split("=", 1) for word in words[1:])
                    continue
                with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
                    ended = main(_small(words[1:])) if words[0] == "boostlm" else _other(line)
                assert ended == status, f"{line}\n{printed.getvalue()}"
        return printed.getvalue()

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
