"""The command line's help."""

import re

import pytest
from support.cli import call

from boostlm.cli.main import _join_values
from boostlm.cli.options import make_parser
from boostlm.config import Config
from boostlm.config_io import fields_of

pytestmark = pytest.mark.slow

OPTIONS = {
    "run": ["config", "--run-dir", *(f"--{name} " for name in fields_of(Config()))],
    "check": ["data", "--prompt", "--answer", "--group", "--split", "--template", "--verifier", "--model"],
    "compile": ["config", "--topology", "--price", "--json", "--model", "--prefix-tokens", "--prompt-tokens", "--response-tokens"],
    "label": ["run_dir", "--from", ".csv", ".jsonl"],
    "convert": ["source", "dest", "--to", "--keep-tokens-of", "--seed", "--arm", "--round"],
    "report": ["run_dir", "--out"],
    "eval": ["run_dir", "--seed", "--arm", "--round", "--split", "validation"],
    "export": ["run_dir", "--seed", "--arm", "--round", "--out"],
    "plan": ["--beta", "--target-error", "--budget", "--prompts", "--start", "--miss-rate", "--false-accept-rate"],
}  # fmt: skip


@pytest.mark.parametrize("name", OPTIONS)
def test_help_names_every_option(capsys, name):
    status, out, err = call(capsys, name, "--help")
    assert (status, err) == (0, "")
    for option in OPTIONS[name]:
        assert option in out


@pytest.mark.parametrize("name", ["label", "convert", "report", "eval", "export", "plan"])
def test_help_describes_every_argument(capsys, name):
    _, out, _ = call(capsys, name, "--help")
    _, *described = re.split(r"^  (?=\S)", out, flags=re.MULTILINE)  # an argument and its help
    described = {words.split()[0]: words for words in described}
    for option in OPTIONS[name]:
        if option.startswith("--") or option in ("run_dir", "source", "dest"):
            text = re.sub(r"\n\n.*", "", described[option], flags=re.DOTALL)
            assert re.search(r"\S(  |\n) *\S", text), f"{option} has no help"


def test_main_help_names_the_commands_and_its_examples_parse(capsys):
    status, out, _ = call(capsys, "--help")
    assert status == 0
    examples = re.findall(r"^  boostlm (.*?)(?:   .*)?$", out, re.MULTILINE)
    assert {e.split()[0] for e in examples} == set(OPTIONS)
    for example in examples:
        _, rest = make_parser().parse_known_args(_join_values(example.split()))
        known = [f"--{name}" for name in fields_of(Config())]
        assert all(word.split("=")[0] in known for word in rest)
