"""From data.task to a task."""

from boostlm.config import DataConfig
from boostlm.tasks.base import Task


def load_task(data: DataConfig) -> Task:
    """The task that the config names."""
    if data.task == "gsm8k":
        from boostlm.tasks.gsm8k import load_gsm8k

        return load_gsm8k(data)
    from boostlm.tasks.skills import SkillsTask

    return SkillsTask(data)
