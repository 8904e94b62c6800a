"""Configs: every field can be overridden, and what does not fit is said clearly."""

import dataclasses
import json
import re
from dataclasses import asdict, replace

import pytest
from support.runs import REPOSITORY, as_options, tiny_config

from boostlm.config import Config, DataConfig, OptimizerConfig, TrainConfig
from boostlm.config_checks import validate
from boostlm.config_io import (
    config_differences,
    fields_of,
    from_json,
    load_config,
    override,
    to_json,
)
from boostlm.errors import BoostError

FIELDS = fields_of(Config())
CONFIGS = sorted((REPOSITORY / "configs").glob("*.py"))


def other_value(name, value):
    """A usable value that differs from `value`, as text and as itself."""
    special = {
        "arms": ("boosting,do_nothing", ("boosting", "do_nothing")),
        "data.task": ("gsm8k", "gsm8k"),
        "data.verifier": ("number", "number"),
        "data.packages": ("numpy", ("numpy",)),
        "data.eval_split": ("validation", "validation"),
        "tokenizer.kind": ("bpe", "bpe"),
        "label.labeler": ("people", "people"),
        "label.endpoint.api_key_env": ("MY_KEY", "MY_KEY"),
        "label.endpoint.request": ('{"max_tokens": 9}', '{"max_tokens": 9}'),
        "model.kv_heads": ("2", 2),
        "sample.top_p": ("0.5", 0.5),
        "train.alpha": ("1/4", 0.25),
        "compute.dtype": ("bfloat16", "bfloat16"),
        "compute.parallel": ("fsdp", "fsdp"),
    }
    if name in special:
        return special[name]
    if isinstance(value, bool):
        return str(not value).lower(), not value
    if isinstance(value, str):
        return "else", "else"
    if isinstance(value, int):
        return str(2 * value + 2 * (value == 0)), 2 * value + 2 * (value == 0)
    return repr(value / 2 + 0.25 * (value == 0)), value / 2 + 0.25 * (value == 0)


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("joined", [True, False])
def test_every_field_can_be_overridden(name, joined):
    text, value = other_value(name, FIELDS[name])
    base = ["--model.window=4"] * (name == "model.global_every")  # local layers need a window
    given = [f"--{name}={text}"] if joined else [f"--{name}", text]
    changed = fields_of(override(Config(), base + given))
    assert changed[name] == value
    assert type(changed[name]) is type(FIELDS[name])
    others = [k for k in FIELDS if k != name and not (base and k == "model.window")]
    assert [changed[k] for k in others] == [FIELDS[k] for k in others]


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("train.alpha=1/3", 1 / 3),
        ("train.alpha=1", 1.0),
        ("train.alpha=5e-1", 0.5),
        ("label.filter_labels=False", False),
        ("arms= boosting , uniform,", ("boosting", "uniform")),
        ("data.path=a=b", "a=b"),
        ("data.path=", ""),
    ],
)
def test_values_are_read(argument, value):
    assert fields_of(override(Config(), [f"--{argument}"]))[argument.partition("=")[0]] == value


def refused(arguments, *parts):
    with pytest.raises(BoostError) as caught:
        override(Config(), arguments)
    for part in parts:
        assert part in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("argument", "parts"),
    [
        ("--rounds=x", ["--rounds takes a whole number, not 'x'"]),
        ("--rounds=1.5", ["--rounds takes a whole number"]),
        ("--rounds=", ["--rounds takes a whole number, not ''"]),
        ("--train.alpha=high", ["--train.alpha takes a number, not 'high'"]),
        ("--train.alpha=1/0", ["--train.alpha takes a number, not '1/0'"]),
        ("--train.optimizer.weight_decay=nan", ["takes a number, not 'nan'"]),
        ("--train.optimizer.learning_rate=inf", ["takes a number, not 'inf'"]),
        ("--label.filter_labels=yes", ["takes true or false, not 'yes'"]),
        ("--label.filter_labels=1", ["takes true or false, not '1'"]),
    ],
)
def test_an_ill_typed_value_is_clear(argument, parts):
    refused([argument], *parts)


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("train.aplha", "--train.alpha"),
        ("learning_rate", "--train.optimizer.learning_rate"),
        ("learning_rate", "--seed_model.optimizer.learning_rate"),
        ("budget", "--label.budget"),
        ("seed", "--seeds"),
        ("filter", "--filter.miss_rate"),
        ("k", "--sample.k"),
        ("run_dir", "--run-dir"),
    ],
)
def test_an_unknown_field_names_the_nearest(name, near):
    with pytest.raises(BoostError, match=f"--{name} is not an option; did you mean .*{near}"):
        override(Config(), [f"--{name}=1"], also=("run-dir",))


def test_a_field_that_is_near_none_points_to_help():
    refused(["--qqqq=1"], "--qqqq is not an option", "boostlm run --help")


def test_a_missing_value_a_stray_word_and_a_second_value_are_refused():
    refused(["--rounds"], "--rounds needs a value")
    refused(["--rounds", "--seeds=3"], "--rounds needs a value")
    refused(["3"], "'3' is not an option")
    refused(["--rounds=3", "--rounds", "4"], "--rounds is given twice")


def test_values_out_of_range_are_all_listed_at_once():
    arguments = [
        "--rounds=0",
        "--train.alpha=2",
        "--sample.temperature=0",
        "--label.beta=1",
        "--model.heads=3",
        "--model.kv_heads=2",
        "--train.optimizer.steps=0",
        "--arms=boosting,best",
        "--data.task=chess",
    ]
    said = refused(arguments, "arms: 'best' unknown", "data.task: 'chess'")
    for name in ("rounds: 0", "train.alpha: 2", "sample.temperature", "label.beta", "model.heads: 3", "train.optimizer.steps: 0"):  # fmt: skip
        assert f"\n  {name}" in said


def test_json_round_trip():
    config = tiny_config(arms=("boosting",), train=TrainConfig(alpha=0.25))
    assert from_json(to_json(config), "x") == config
    assert from_json(to_json(Config()), "x") == Config()
    assert override(Config(), as_options(config)) == config


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda raw: raw.pop("rounds"), "x: field rounds is missing"),
        (lambda raw: raw["label"].pop("beta"), "x: field label.beta is missing"),
        (lambda raw: raw.update(more=1), "x: field more is unknown"),
        (lambda raw: raw["train"]["optimizer"].update(lr=1), "field train.optimizer.lr is unknown"),
        (lambda raw: raw.update(rounds="5"), "x: rounds is '5', not a whole number"),
        (lambda raw: raw.update(rounds=True), "x: rounds is True, not a whole number"),
        (lambda raw: raw.update(arms="boosting"), "x: arms is 'boosting', not a list of names"),
        (lambda raw: raw.update(arms=3), "x: arms is 3, not a list of names"),
        (lambda raw: raw.update(arms=[3]), "x: arms is .3., not a list of names"),
        (lambda raw: raw.update(model=3), "x: model. is not an object of fields"),
        (lambda raw: raw.update(rounds=-1), "rounds: -1 is below 1"),
    ],
)
def test_json_that_does_not_fit_is_refused(change, message):
    raw = json.loads(to_json(Config()))
    change(raw)
    with pytest.raises(BoostError, match=message):
        from_json(json.dumps(raw), "x")


def test_json_that_is_none_is_refused():
    for text in ("", "{", to_json(Config())[:100]):
        with pytest.raises(BoostError, match="x is not JSON"):
            from_json(text, "x")
    with pytest.raises(BoostError, match="the config is not an object"):
        from_json("[]", "x")


def test_json_takes_a_whole_number_for_a_float():
    raw = json.loads(to_json(Config()))
    raw["label"]["cost"] = 2
    cost = from_json(json.dumps(raw), "x").label.cost
    assert (cost, type(cost)) == (2.0, float)


def test_differences_name_every_field_that_differs_and_no_other():
    old = Config()
    new = replace(old, rounds=7, data=DataConfig(path="/x"), train=TrainConfig(optimizer=OptimizerConfig(steps=9)))  # fmt: skip
    assert config_differences(old, old) == []
    assert config_differences(old, new) == [
        "rounds: 5 -> 7",
        "data.path: '' -> '/x'",
        "train.optimizer.steps: 330 -> 9",
    ]


def written(tmp_path, text, name="mine.py"):
    path = tmp_path / name
    path.write_text(text)
    return str(path)


def test_a_config_file_is_loaded_and_brought_to_the_fields_types(tmp_path):
    path = written(tmp_path, """
from boostlm.config import Config, TrainConfig
def get_config():
    return Config(name="mine", arms=["boosting"], train=TrainConfig(alpha=0))
""")  # fmt: skip
    config = load_config(path)
    assert config == Config(name="mine", arms=("boosting",), train=TrainConfig(alpha=0.0))
    assert type(config.train.alpha) is float  # or --train.alpha 0.5 would ask for a whole number
    assert override(config, ["--train.alpha=0.5"]).train.alpha == 0.5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def get_config(:", "mine.py does not run: SyntaxError"),
        ("import nothing_of_the_kind", "mine.py does not run: ModuleNotFoundError"),
        ("x = 1", r"mine.py has no function get_config\(\)"),
        ("get_config = 3", r"mine.py has no function get_config\(\)"),
        ("def get_config():\n    return {}", "returned dict, not a Config"),
        ("def get_config():\n    return 1 / 0", "mine.py does not run: ZeroDivisionError"),
        ("from boostlm.config import *\ndef get_config():\n    return Config(rounds='3')", "mine.py: rounds is '3', not a whole number"),
        ("from boostlm.config import *\ndef get_config():\n    return Config(lr=3)", "does not run: TypeError.*'lr'"),
    ],
)  # fmt: skip
def test_a_config_file_that_is_no_config_is_refused(tmp_path, text, message):
    with pytest.raises(BoostError, match=message):
        load_config(written(tmp_path, text))


def test_a_missing_config_file_names_near_ones(tmp_path):
    written(tmp_path, "", "gsm8k_tiny.py")
    with pytest.raises(BoostError, match=r"does not exist; did you mean .*/gsm8k_tiny\.py"):
        load_config(str(tmp_path / "gsm8k_tini.py"))
    with pytest.raises(BoostError, match=r"does not exist .*nor does the folder .*/nowhere"):
        load_config(str(tmp_path / "nowhere" / "x.py"))
    with pytest.raises(BoostError, match="does not run"):
        load_config(str(tmp_path))


def test_the_default_is_usable_and_has_plain_leaves():
    assert validate(Config()) == Config()
    assert {type(value) for value in FIELDS.values()} <= {int, float, bool, str, tuple}
    assert set(FIELDS) == set(fields_of(from_json(json.dumps(asdict(Config())), "x")))
    for part in (Config(), Config().train, Config().train.optimizer):
        with pytest.raises(dataclasses.FrozenInstanceError):
            part.name = 3


def test_every_field_has_a_comment_which_help_shows():
    from boostlm.cli.options import field_help

    lines = field_help().splitlines()
    assert [line.split()[0] for line in lines] == [f"--{name}" for name in FIELDS]
    bare = [line.split()[0] for line in lines if not re.match(r"  --\S+ \S*\s+\S.*\w", line)]
    assert bare == [], "fields without a comment beside them in config.py"


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_a_config_in_configs_loads_and_says_how_to_run_it(path):
    assert validate(load_config(str(path)))
    docstring = re.match(r'"""(.*?)"""', path.read_text(), re.DOTALL)
    assert docstring, "no docstring"
    assert f"boostlm run configs/{path.name}" in docstring[1]
