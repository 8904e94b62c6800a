"""Two models on the same prompts: McNemar's exact test."""

from typing import NamedTuple

import numpy as np
from scipy import special


class McNemar(NamedTuple):
    """The prompts that only one of two models answers, and the test that they make.

    Attributes:
      first_only: prompts that only the first model answers.
      second_only: prompts that only the second answers.
      p: two-sided, see `mcnemar`.
    """

    first_only: int
    second_only: int
    p: float


def mcnemar(first_only: int, second_only: int) -> McNemar:
    """The exact test of whether two trained models are equally good on prompts like these.

    Two-sided binomial test of `first_only` among `first_only + second_only` at 1/2: equally good
    models win a discordant prompt equally often. Without discordant prompts p is 1. It says nothing
    about what training with another seed would give, so do not add up the counts of several seeds:
    with the seed effects of our runs, a test of pooled counts at 5% calls 34% of equal arms
    different.
    """
    total = first_only + second_only
    p = min(1.0, 2 * float(special.bdtr(min(first_only, second_only), total, 0.5)))
    return McNemar(first_only, second_only, p)


def mcnemar_of(first_M: np.ndarray, second_M: np.ndarray) -> McNemar:
    """`mcnemar` from two models' verdicts on the same prompts, bool of any one shape."""
    if first_M.shape != second_M.shape:
        raise ValueError(f"shapes {first_M.shape} and {second_M.shape} cannot be paired")
    return mcnemar(int(np.sum(first_M & ~second_M)), int(np.sum(second_M & ~first_M)))
