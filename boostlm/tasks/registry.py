"""From data.task to a task."""

import importlib.util
import sys

from etils import epath

from boostlm.config import OWN_TASK, DataConfig
from boostlm.errors import BoostError
from boostlm.tasks.base import SPLITS, Prompts, Task


def load_task(data: DataConfig) -> Task:
    """The task that the config names."""
    if data.task == "gsm8k":
        from boostlm.tasks.gsm8k.task import load_gsm8k

        return load_gsm8k(data)
    if data.task == "mbpp":
        from boostlm.tasks.mbpp.task import load_mbpp

        return load_mbpp(data)
    if own := OWN_TASK.fullmatch(data.task):
        return _own_task(own[1], own[2], data)
    from boostlm.tasks.skills import SkillsTask

    return SkillsTask(data)


def _own_task(path: str, name: str, data: DataConfig) -> Task:
    """An instance of a class in a user's file.

    Raises:
      BoostError: there is no such file or class, it fails, or it is not as `Task` says.
    """
    file = epath.Path(path).expanduser()
    if not file.exists():
        raise BoostError(f"data.task: there is no file {path}")
    module_name = f"boostlm_own_task_{file.stem}"
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(module_name, None))
    sys.modules[module_name] = module  # where dataclasses look for their module
    try:
        exec(compile(file.read_text(), path, "exec"), module.__dict__)
        found = getattr(module, name, None)
        if not isinstance(found, type) or not issubclass(found, Task):
            raise BoostError(
                f"data.task: {path} has no class {name} that is a subclass of "
                "boostlm.tasks.base.Task"
            )
        task = found(data)
    except BoostError:
        raise
    except Exception as error:
        raise BoostError(f"data.task: {path} fails: {type(error).__name__}: {error}") from error
    _check(task, f"data.task: {path}:{name}")
    return task


def _check(task: Task, where: str) -> None:
    if not isinstance(getattr(task, "name", None), str):
        raise BoostError(f"{where} has no name")
    prompts = getattr(task, "prompts", {})
    for split in SPLITS:
        found = prompts.get(split)
        if not isinstance(found, Prompts):
            raise BoostError(f"{where}: prompts[{split!r}] is missing or no Prompts")
        sizes = {len(found.texts), len(found.bands), len(found.problems or found.texts)}
        if len(sizes) > 1:
            raise BoostError(f"{where}: prompts[{split!r}] has not one band (and problem) a text")
