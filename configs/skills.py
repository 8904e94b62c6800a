"""The embedded task, as in `boostlm run` without a config. Copy it to start your own config.

    boostlm run configs/skills.py

Expected greedy test accuracy (benchmarks/README.md has the figures and their spread): all arms
start near 0.37. After 5 rounds, do_nothing is near 0.32, filter_only near 0.52, uniform near 0.72
and boosting near 0.76.
"""

from boostlm.config import Config


def get_config() -> Config:
    """The defaults of all fields. `boostlm run --help` lists them."""
    return Config()
