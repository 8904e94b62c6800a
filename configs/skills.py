"""The embedded task, the same as `boostlm run` without a config: a starting point for your own.

    boostlm run configs/skills.py

What to expect (greedy test accuracy; figures and their spread in benchmarks/README.md): all arms
start near 0.36. do_nothing ends below that, filter_only gains some, uniform more and boosting most.
"""

from boostlm.config import Config


def get_config() -> Config:
    """Every field at its default; `boostlm run --help` lists them."""
    return Config()
