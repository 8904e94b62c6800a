"""Parts of pages that are written from the code at build time, as Markdown. Needs no Sphinx."""

import argparse
import ast
import dataclasses
import inspect
import re
from pathlib import Path

from boostlm import config as config_module
from boostlm.cli.options import TAKE_FIELDS, make_parser
from boostlm.config import Config

PACKAGE = Path(config_module.__file__).parent
# The rooms in the order in which they may import each other: each only from those before it.
ROOMS = (
    "errors", "user_code", "config", "config_checks", "numerics", "prng", "curation", "config_io",
    "lm", "runtime", "storage", "engine", "pretrained", "sandbox", "verifiers", "tasks",
    "labelers", "statistics", "experiment", "report", "aot", "cli",
)  # fmt: skip


def cell(text: str) -> str:
    """Text that may stand in a cell of a Markdown table."""
    return with_options(text).replace("|", r"\|").replace("\n", " ").replace("<", "&lt;")


def with_options(text: str) -> str:
    """Help text with its options in backticks."""
    return re.sub(r"(?<![`\w])--[a-z][\w.-]*", r"`\g<0>`", text)


def code(text: str) -> str:
    """Text in backticks, in a cell."""
    return f"`{text}`".replace("|", r"\|")


# Configuration


def comments_of(kind: type) -> dict[str, str]:
    """The comment beside each field of a config class; on the lines before it where it is there."""
    comments, above = {}, []
    for line in inspect.getsource(kind).split("\n"):
        if match := re.match(r"    (\w+): .*?(?:  # (.*))?$", line):
            text = " ".join([*above, *filter(None, [match[2]])])
            comments[match[1]] = text
            above = []
        elif match := re.match(r"    # (.*)$", line):
            above.append(match[1])
        else:
            above = []
    return comments


def config_fields() -> str:
    """Every config field: a section for each class, a table with defaults and comments."""
    parts = []

    def walk(part, path: str) -> None:
        kind, inner = type(part), []
        parts.append(f"## `{path}`\n" if path else "## The experiment\n")
        parts.append(f"{inspect.getdoc(kind)}\n")
        rows = ["| Field | Default | Meaning |", "|---|---|---|"]
        comments = comments_of(kind)
        for field in dataclasses.fields(kind):
            value, name = getattr(part, field.name), f"{path}.{field.name}".lstrip(".")
            if dataclasses.is_dataclass(value):
                inner.append((value, name))
                continue
            if not comments.get(field.name):
                raise ValueError(f"{kind.__name__}.{field.name} has no comment")
            shown = ",".join(value) if isinstance(value, tuple) else str(value)
            if isinstance(value, float):
                shown = f"{value:g}"
            elif isinstance(value, bool):
                shown = shown.lower()
            default = code(shown) if shown else "empty"
            rows.append(f"| {code(name)} | {default} | {cell(comments[field.name])} |")
        parts.append("\n".join(rows) + "\n")
        for value, name in inner:
            walk(value, name)

    walk(Config(), "")
    return "\n".join(parts)


# The command line


def subparsers() -> dict[str, argparse.ArgumentParser]:
    """The parser of each command, in the order of the help text."""
    actions = make_parser()._actions
    return next(a for a in actions if isinstance(a, argparse._SubParsersAction)).choices


def command_help() -> dict[str, str]:
    """One line on each command."""
    actions = make_parser()._actions
    found = next(a for a in actions if isinstance(a, argparse._SubParsersAction))
    return {choice.dest: choice.help for choice in found._choices_actions}


def examples() -> str:
    """The examples at the end of `boostlm --help`."""
    lines = make_parser().epilog.strip("\n").split("\n")[1:]
    return "```text\n" + inspect.cleandoc("\n".join(lines)) + "\n```\n"


def commands() -> str:
    """Every command with its arguments and options."""
    summaries = command_help()
    parts = ["| Command | What it does |", "|---|---|"]
    parts += [f"| [`boostlm {n}`](#boostlm-{n}) | {cell(h)} |" for n, h in summaries.items()]
    parts.append("")
    for name, parser in subparsers().items():
        usage = argparse.HelpFormatter(f"boostlm {name}", width=88)
        usage.add_usage(None, parser._actions, parser._mutually_exclusive_groups, "")
        parts += [f"## `boostlm {name}`\n", f"{with_options(parser.description)}\n"]
        parts.append(f"```text\n{usage.format_help().strip()}\n```\n")
        parts += ["| Argument | Default | Meaning |", "|---|---|---|"]
        parts += [_option_row(a) for a in parser._actions if not isinstance(a, _HELP)]
        parts.append("")
        if name in TAKE_FIELDS:
            parts.append(
                "Every field of the [configuration](config.md) is an option too, such as "
                "`--train.alpha 0.5`.\n"
            )
    return "\n".join(parts)


_HELP = argparse._HelpAction


def _option_row(action: argparse.Action) -> str:
    name = action.option_strings[-1] if action.option_strings else action.dest.upper()
    if action.option_strings and action.nargs != 0:
        name += f" {action.metavar or action.dest.upper()}"
    text, _, default = (action.help or "").partition("default: ")
    text = text.rstrip("; ")
    optional = not action.required if action.option_strings else action.nargs == "?"
    if not optional:
        default = "required"
    elif not default and action.default not in (None, False, []):
        default = str(action.default)
    if action.choices:
        text = "; ".join(filter(None, [text, "one of " + ", ".join(map(str, action.choices))]))
    return f"| {code(name)} | {cell(default)} | {cell(text)} |"


# The rooms


def summary(path: Path) -> str:
    """The first line of a module's docstring."""
    text = ast.get_docstring(ast.parse(path.read_text()))
    if not text:
        raise ValueError(f"{path} has no docstring")
    return re.sub(r"\s+", " ", text.split("\n\n")[0].split("\n")[0])


def rooms() -> str:
    """One line for every folder and file of the package, in the order of imports."""
    found = {p.stem for p in PACKAGE.iterdir() if p.is_dir() or p.suffix == ".py"}
    found -= {"__init__", "__main__", "__pycache__"}
    if found != set(ROOMS):
        raise ValueError(f"the rooms differ from ROOMS: {sorted(found ^ set(ROOMS))}")
    parts, singles = [], []
    for room in ROOMS:
        if (PACKAGE / f"{room}.py").exists():
            singles.append(f"| `{room}.py` | {cell(summary(PACKAGE / f'{room}.py'))} |")
            continue
        folder = PACKAGE / room
        files = [p for p in sorted(folder.rglob("*.py")) if p != folder / "__init__.py"]
        rows = [
            f"| `{p.relative_to(folder).as_posix().replace('__init__.py', '')}` "
            f"| {cell(summary(p))} |"
            for p in files
        ]
        parts.append(f"### `{room}/`\n\n{summary(folder / '__init__.py')}\n")
        parts.append("\n".join(["| File | What it holds |", "|---|---|", *rows]) + "\n")
    head = "\n".join(["| File | What it holds |", "|---|---|", *singles])
    return f"### Files at the top\n\n{head}\n\n" + "\n".join(parts)


def how_to() -> str:
    """The table of contents of the how-to pages and notebooks."""
    folder = Path(__file__).parent.parent
    files = [*folder.glob("howto/*.md"), *folder.glob("howto/*.ipynb"), *folder.glob("*.ipynb")]
    names = sorted(f.relative_to(folder).with_suffix("").as_posix() for f in files)
    return "\n".join(["```{toctree}", ":caption: How to", ":hidden:", "", *names, "```"])


PARTS = {
    "how to": how_to,
    "config fields": config_fields,
    "commands": commands,
    "examples": examples,
    "rooms": rooms,
}


def fill_in(text: str) -> str:
    """A page with its `<!-- generated: NAME -->` lines replaced."""
    return re.sub(r"<!-- generated: ([\w ]+) -->", lambda m: PARTS[m[1]](), text)
