"""Reads, overrides, compares and writes configs. A wrong field or value raises BoostError."""

import dataclasses
import difflib
import json
import math
import typing
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from boostlm.config import Config
from boostlm.config_checks import validate
from boostlm.curation.arms import Arm, folder_of, parse_arm, split_list
from boostlm.errors import BoostError
from boostlm.user_code import open_path, run_file

if TYPE_CHECKING:
    from etils import epath

_WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}


def load_config(path: str) -> Config:
    """The config that `get_config()` in a Python file returns."""
    file = open_path(path, "config")
    if not file.exists():
        raise BoostError(f"the config file {path} does not exist{_similar_files(file)}")
    get_config = getattr(run_file(path, "config"), "get_config", None)
    if not callable(get_config):
        raise BoostError(f"{path} has no function get_config() that returns a boostlm Config")
    try:
        config = get_config()
    except BoostError:
        raise
    except Exception as error:
        raise BoostError(f"{path} does not run: {type(error).__name__}: {error}") from error
    if not isinstance(config, Config):
        raise BoostError(f"{path}: get_config() returned {type(config).__name__}, not a Config")
    return from_dict(Config, dataclasses.asdict(config), path)


def arms_of(config: Config) -> dict[str, Arm]:
    """The arms of a config by name, in order.

    Raises:
      BoostError: an arm is wrong, two share a name or a folder, or one stands before the arm that
        its `as_many_as` names.
    """
    arms: dict[str, Arm] = {}
    folders: dict[str, str] = {}
    for text in config.arms:
        arm = parse_arm(text)
        folder = folder_of(arm.name).casefold()
        if folder in folders:
            raise BoostError(f"arms: {folders[folder]} and {arm.name} need different names")
        if arm.as_many_as and arm.as_many_as not in arms:
            raise BoostError(
                f"arms: {arm.name} buys as many labels as {arm.as_many_as} kept: put that arm "
                "before it"
            )
        arms[arm.name], folders[folder] = arm, arm.name
    if not arms:
        raise BoostError("arms: name at least one")
    return arms


def arm_config(config: Config, arm: Arm) -> Config:
    """The config with an arm's own settings.

    Raises:
      BoostError: a setting does not exist, or its value is not possible.
    """
    known = fields_of(config)
    for name, text in arm.settings.items():
        if name not in known:
            raise BoostError(f"{name} is not a field{_nearest(name, [*known], dashes='')}")
        config = _replace(config, name.split("."), _parse(name, text, known[name]))
    return config


def start_folders(config: Config, arm: Arm) -> tuple[str, str]:
    """Where the seed model's samples, and the verdicts on them, are that an arm starts from.

    Arms share them unless their settings of sampling, or of the filter too, differ.
    """
    changed = config_differences(config, arm_config(config, arm))
    settings = [line.partition(":")[0] for line in changed]
    samples, verdicts = (
        [f"{name}={arm.settings[name]}" for name in settings if name.startswith(sections)]
        for sections in (("sample.",), ("sample.", "filter."))
    )
    return _shared_folder(samples), _shared_folder(verdicts)


def _shared_folder(settings: Sequence[str]) -> str:
    return folder_of(f"shared({','.join(settings)})") if settings else "shared"


def _checked(config: Config) -> Config:
    """The validated config, in which arms are written in full, so that they need no files."""
    try:
        arms = arms_of(config)
    except BoostError as error:
        return validate(config, [str(error)])
    config = validate(dataclasses.replace(config, arms=tuple(arms.values())))
    for arm in arms.values():
        try:
            validate(arm_config(config, arm))
        except BoostError as error:
            raise BoostError(f"arms: {arm.name}: {error}") from error
    return config


def _similar_files(file: "epath.Path") -> str:
    if not file.parent.exists():
        return f" (nor does the folder {file.parent})"
    names = [p.name for p in file.parent.glob("*.py")]
    close = difflib.get_close_matches(file.name, names, n=3, cutoff=0.4)
    return f"; did you mean {_join(str(file.parent / n) for n in close)}?" if close else ""


def _join(names: Iterable[str]) -> str:
    return " or ".join(names)


def fields_of(config: Any, prefix: str = "") -> dict[str, Any]:
    """Every leaf as {dotted name: value}, in the order of definition."""
    leaves: dict[str, Any] = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            leaves |= fields_of(value, f"{prefix}{field.name}.")
        else:
            leaves[prefix + field.name] = value
    return leaves


def override(config: Config, arguments: Sequence[str], also: Sequence[str] = ()) -> Config:
    """Applies command-line overrides, `--train.alpha 0.5` or `--train.alpha=0.5`.

    A tuple takes comma-separated values. The result is validated. `also` names the command's other
    options, to suggest one of them for a misspelt name.
    """
    values: dict[str, str] = {}
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        if not word.startswith("--"):
            raise BoostError(f"{word!r} is not an option: write --field value")
        name, equals, text = word[2:].partition("=")
        if not equals:
            if not rest or rest[0].startswith("--"):
                raise BoostError(f"--{name} needs a value")
            text = rest.pop(0)
        if name in values:
            raise BoostError(f"--{name} is given twice")
        values[name] = text
    known = fields_of(config)
    for name, text in values.items():
        if name not in known:
            raise BoostError(f"--{name} is not an option{_nearest(name, [*known, *also])}")
        config = _replace(config, name.split("."), _parse(f"--{name}", text, known[name]))
    return _checked(config)


def _nearest(name: str, known: Sequence[str], dashes: str = "--") -> str:
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    last = name.rpartition(".")[2]
    close += [k for k in known if k.rpartition(".")[2] == last and k not in close]
    close = close or [k for k in known if k.startswith(name + ".")]
    if not close:
        return "; boostlm run --help lists the fields"
    return f"; did you mean {_join(dashes + c for c in close[:4])}?"


def _parse(name: str, text: str, current: Any) -> Any:
    """Text as the type that the field has now."""
    kind, given = type(current), text
    try:
        if kind is bool:
            return {"true": True, "false": False}[text.lower()]
        if kind is tuple:
            return tuple(split_list(text))
        if kind is float and "/" in text:
            above, _, below = text.partition("/")
            given = float(above) / float(below)
        value = kind(given)
        if kind is float and not math.isfinite(value):
            raise ValueError
        return value
    except (ValueError, KeyError, ZeroDivisionError):
        raise BoostError(f"{name} takes {_WORDS[kind]}, not {text!r}") from None


def _replace(config: Any, path: Sequence[str], value: Any) -> Any:
    head, *rest = path
    if rest:
        value = _replace(getattr(config, head), rest, value)
    return dataclasses.replace(config, **{head: value})


def to_json(config: Config) -> str:
    """The config as indented JSON."""
    return json.dumps(dataclasses.asdict(config), indent=2) + "\n"


def from_json(text: str, where: str) -> Config:
    """A config from `to_json`'s text; an unknown, missing or ill-typed field raises BoostError."""
    try:
        raw = json.loads(text)
    except json.JSONDecodeError as error:
        raise BoostError(f"{where} is not JSON: {error}") from error
    return _checked(from_dict(Config, raw, where))


def from_dict(kind: type, raw: Any, where: str, prefix: str = "") -> Any:
    """A config dataclass from nested dicts; a wrong field or value raises BoostError."""
    if not isinstance(raw, dict):
        raise BoostError(f"{where}: {prefix or 'the config'} is not an object of fields")
    types = typing.get_type_hints(kind)
    for name in sorted(raw.keys() ^ types.keys()):
        what = "unknown" if name in raw else "missing"
        raise BoostError(f"{where}: field {prefix}{name} is {what}")
    values = {}
    for name, hint in types.items():
        value = raw[name]
        if isinstance(hint, type) and dataclasses.is_dataclass(hint):
            value = from_dict(hint, value, where, f"{prefix}{name}.")
        elif typing.get_origin(hint) is tuple:
            if not isinstance(value, list | tuple) or not all(type(v) is str for v in value):
                raise BoostError(f"{where}: {prefix}{name} is {value!r}, not a list of names")
            value = tuple(value)
        elif hint is float and type(value) is int:
            value = float(value)
        elif type(value) is not hint:
            raise BoostError(f"{where}: {prefix}{name} is {value!r}, not {_WORDS[hint]}")
        values[name] = value
    return kind(**values)


def grown(old: Config, new: Config) -> Config:
    """The old config with what `new` adds to it: rounds, seeds and arms."""
    return dataclasses.replace(
        old,
        rounds=max(old.rounds, new.rounds),
        seeds=max(old.seeds, new.seeds),
        arms=new.arms if set(old.arms) <= set(new.arms) else old.arms,
    )


def config_differences(old: Config, new: Config) -> list[str]:
    """One line for each field that differs: `name: old -> new`."""
    before, after = fields_of(old), fields_of(new)
    return [f"{k}: {before[k]!r} -> {after[k]!r}" for k in before if before[k] != after[k]]
