"""The embedded task, the same as `boostlm run` without a config: a starting point for your own.

    boostlm run configs/skills.py

What to expect (greedy test accuracy; figures and their spread in benchmarks/README.md): all arms
start near 0.37. After 5 rounds do_nothing is near 0.32, filter_only near 0.52, uniform near 0.72
and boosting near 0.76.
"""

from boostlm.config import Config


def get_config() -> Config:
    """Every field at its default; `boostlm run --help` lists them."""
    return Config()
