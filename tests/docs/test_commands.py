"""What all pages, the how-to pages too, say of commands, settings and extras exists."""

import re
import shlex
import tomllib

import pytest
from docs.pages import DOCS, blocks, joined, shell_blocks, text_of
from support.data_sets import REPOSITORY

from boostlm.cli.main import _join_values
from boostlm.cli.options import TAKE_FIELDS, make_parser
from boostlm.config import Config
from boostlm.config_io import fields_of, override

PAGES = sorted(path.relative_to(DOCS).with_suffix("").as_posix() for path in DOCS.rglob("*.md"))


def commands_of(page):
    """What a page has a reader type at boostlm, in blocks or in backticks: lists of words."""
    text = text_of(page)
    inline = [" ".join(span.split()) for span in re.findall(r"`(boostlm [^`]+)`", text)]
    lines = [line for block in shell_blocks(page) for line in joined(block)]
    lines += [line for _, fenced in blocks(page) for line in joined(fenced)]
    found = {line.strip() for line in [*lines, *inline] if line.strip().startswith("boostlm ")}
    return sorted(shlex.split(line, comments=True)[1:] for line in found)


@pytest.mark.parametrize("page", PAGES)
def test_the_real_parser_takes_every_command_of_a_page(page, capsys):
    for words in commands_of(page):
        if words[0] in ("--help", "COMMAND"):
            continue
        assert words[0] in known_commands(), words
        if len(words) == 1:  # named, not typed
            continue
        try:
            args, rest = make_parser().parse_known_args(_join_values(words))
        except SystemExit:
            pytest.fail(f"boostlm {shlex.join(words)}\n{capsys.readouterr().err}")
        if args.command in TAKE_FIELDS:
            own = [name.replace("_", "-") for name in vars(args)]
            override(Config(), rest, also=own)
            config = getattr(args, "config", None) or ""
            if config.startswith("configs/"):
                assert (REPOSITORY / config).exists()
        else:
            assert not rest, words


def known_commands():
    actions = make_parser()._actions
    return next(action.choices for action in actions if action.dest == "command")


def test_every_config_field_that_a_page_names_exists():
    names = set(fields_of(Config()))
    parts = {name.rpartition(".")[0] for name in names} - {""}
    named = 0
    for page in PAGES:
        spans = re.findall(r"`(?:--)?([a-z_]+(?:\.[a-z_]+)+)(?: = \w+)?`", text_of(page))
        for span in spans:
            if span == "tokenizer.model":  # a file
                continue
            if span.split(".")[0] in {part.split(".")[0] for part in parts}:
                named += 1
                assert span in names | parts, (page, span)
    assert named >= 20


def test_every_extra_that_a_page_installs_exists():
    extras = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    named = {name for page in PAGES for name in re.findall(r"'\.\[([\w,]+)\]'", text_of(page))}
    assert named >= {"tpu", "convert"}
    assert {one for name in named for one in name.split(",")} <= set(
        extras["optional-dependencies"]
    )
