"""What a user names: paths, and Python files of configs, tasks or labelers (FILE.py:NAME)."""

import importlib.util
import os
import re
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TYPE_CHECKING, Any

from boostlm.errors import BoostError

if TYPE_CHECKING:
    from etils import epath

FILE_AND_NAME = re.compile(r"(.+\.py):([A-Za-z_]\w*)")

# How to install the package that reads the paths of each scheme.
_READERS = {
    "gs": "pip install gcsfs, or install boostlm[tpu]",
    "s3": "pip install s3fs",
    "az": "pip install adlfs",
    "hf": "pip install huggingface_hub",
}


def open_path(path: str | os.PathLike[str], setting: str = "") -> "epath.Path":
    """A path that this machine can open, whether or not anything is there.

    Args:
      path: of a local file system, or of a bucket such as gs://.
      setting: the setting that gave the path; errors name it.

    Raises:
      BoostError: its scheme is unknown, the package that reads it is not installed, or whoever
        keeps the bucket does not answer.
    """
    from etils import epath  # slow to import, and some commands open no path

    name, where = os.fspath(path), f"{setting}: " if setting else ""
    scheme, mark, _ = name.partition("://")
    if not mark:
        return epath.Path(path).expanduser()
    if scheme not in _READERS:
        known = ", ".join(f"{known}://" for known in _READERS)
        raise BoostError(
            f"{where}{name} cannot be opened: name a local path without ://, or one in {known}"
        )
    found = epath.Path(path)
    try:
        found.exists()
    except ImportError as error:
        raise BoostError(f"{where}{name} cannot be opened ({error}): {_READERS[scheme]}") from error
    except Exception as error:  # each package has exceptions of its own
        raise BoostError(
            f"{where}{name} cannot be opened ({type(error).__name__}: {error}): check its name, "
            "your access and the network"
        ) from error
    return found


def run_file(path: str, setting: str) -> ModuleType:
    """Runs a file as an imported module is run: with `__file__`, and able to import its neighbours.

    Args:
      path: a local file, or one that etils.epath opens.
      setting: the setting that gave the path; errors name it.

    Raises:
      BoostError: the file does not exist, or it raises.
    """
    file = open_path(path, setting)
    if not file.exists():
        raise BoostError(f"{setting}: the file {path} does not exist")
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
