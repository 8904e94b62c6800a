"""Creates the task that data.task names."""

from collections.abc import Callable
from typing import cast

from boostlm.config import SPLITS, DataConfig
from boostlm.errors import BoostError
from boostlm.tasks.base import Prompts, Task
from boostlm.user_code import FILE_AND_NAME, load_named


def load_task(data: DataConfig) -> Task:
    """The task that the config names."""
    if data.task == "gsm8k":
        from boostlm.tasks.gsm8k.task import load_gsm8k

        return load_gsm8k(data)
    if data.task == "mbpp":
        from boostlm.tasks.mbpp.task import load_mbpp

        return load_mbpp(data)
    if data.task == "jsonl":
        from boostlm.tasks.own_data.task import OwnDataTask

        return OwnDataTask(data)
    if FILE_AND_NAME.fullmatch(data.task):
        return _own_task(data)
    from boostlm.tasks.skills import SkillsTask

    return SkillsTask(data)


def _own_task(data: DataConfig) -> Task:
    """An instance of the class FILE.py:CLASS.

    Raises:
      BoostError: the file or class does not exist, the constructor fails, or the instance violates
        the `Task` interface.
    """
    where = f"data.task: {data.task}"
    found = load_named(data.task, "data.task")
    if not isinstance(found, type) or not issubclass(found, Task):
        raise BoostError(f"{where} is not a subclass of boostlm.tasks.base.Task")
    try:
        task = cast(Callable[[DataConfig], Task], found)(data)
    except BoostError:
        raise
    except Exception as error:
        raise BoostError(f"{where} fails: {type(error).__name__}: {error}") from error
    _check(task, where)
    return task


def _check(task: Task, where: str) -> None:
    if not isinstance(getattr(task, "name", None), str):
        raise BoostError(f"{where} has no name")
    prompts = getattr(task, "prompts", {})
    for split in SPLITS:
        found = prompts.get(split)
        if not isinstance(found, Prompts):
            raise BoostError(f"{where}: prompts[{split!r}] is missing or not a Prompts object")
        sizes = {len(found.texts), len(found.groups), len(found.problems or found.texts)}
        if len(sizes) > 1:
            raise BoostError(
                f"{where}: prompts[{split!r}] must have one group per text, and one problem per "
                "text if it has problems"
            )
