"""Python files that a user names: configs, and tasks or labelers written as FILE.py:NAME."""

import importlib.util
import re
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from boostlm.errors import BoostError

FILE_AND_NAME = re.compile(r"(.+\.py):([A-Za-z_]\w*)")


def run_file(path: str, setting: str) -> ModuleType:
    """Runs a file as an imported module is run: with `__file__`, and able to import its neighbours.

    Args:
      path: a local file, or one that etils.epath opens.
      setting: named in errors.

    Raises:
      BoostError: there is no such file, or it raises.
    """
    from etils import epath  # slow to import, and most commands need no file of the user

    file = epath.Path(path).expanduser()
    if not file.exists():
        raise BoostError(f"{setting}: there is no file {path}")
    name = f"boostlm_user_{file.stem}"
    module = importlib.util.module_from_spec(ModuleSpec(name, loader=None))
    module.__file__ = str(file)
    sys.modules[name] = module  # dataclasses and pickle look their module up
    folder = str(file.parent.resolve()) if "://" not in str(file) else ""
    sys.path.insert(0, folder)
    try:
        exec(compile(file.read_text(), str(file), "exec"), module.__dict__)
    except BoostError:
        raise
    except Exception as error:
        raise BoostError(
            f"{setting}: {path} does not run: {type(error).__name__}: {error}"
        ) from error
    finally:
        sys.path.remove(folder)
    return module


def load_named(file_and_name: str, setting: str) -> Any:
    """The object NAME of a file, given as FILE.py:NAME.

    Raises:
      BoostError: the file does not run, or has no such name.
    """
    match = FILE_AND_NAME.fullmatch(file_and_name)
    if match is None:
        raise BoostError(f"{setting}: {file_and_name} is not FILE.py:NAME")
    path, name = match.groups()
    module = run_file(path, setting)
    if not hasattr(module, name):
        raise BoostError(f"{setting}: {path} has no {name}")
    return getattr(module, name)
