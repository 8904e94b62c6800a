"""The embedded task, as in `boostlm run` without a config. Copy it to start your own config.

    boostlm run configs/skills.py

Expected greedy test accuracy (benchmarks/README.md has the figures and their spread): all arms
start near 0.38. After 5 rounds, do_nothing is near 0.31, filter_only near 0.51, uniform near 0.70
and boosting near 0.77.
"""

from boostlm.config import Config


def get_config() -> Config:
    """The defaults of all fields. `boostlm run --help` lists them."""
    return Config()
