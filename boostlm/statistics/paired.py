"""Two models on the same prompts: McNemar's exact test, and a paired bootstrap interval."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

REPLICATES = 10_000  # moves the ends of a 95% interval by about 2% of its width from seed to seed


class McNemar(NamedTuple):
    """What the prompts say on which only one of two models is right.

    Attributes:
      first_only: prompts that only the first model answers.
      second_only: prompts that only the second answers.
      p: two-sided, see `mcnemar`.
    """

    first_only: int
    second_only: int
    p: float


def mcnemar(first_only: int, second_only: int) -> McNemar:
    """The exact test: if the models were equally good, either would win a discordant prompt.

    Two-sided binomial test of `first_only` among `first_only + second_only` at 1/2. Without
    discordant prompts p is 1.

    Tests of several seeds are pooled by adding up their counts. The seeds share their prompts, so
    pooled pairs are not independent: such a p is about these trained models on prompts like these,
    and not about what training again would give.
    """
    total = first_only + second_only
    p = float(stats.binomtest(first_only, total).pvalue) if total else 1.0
    return McNemar(first_only, second_only, p)


def mcnemar_of(first_M: np.ndarray, second_M: np.ndarray) -> McNemar:
    """`mcnemar` from two models' verdicts on the same prompts, bool of any one shape."""
    if first_M.shape != second_M.shape:
        raise ValueError(f"shapes {first_M.shape} and {second_M.shape} cannot be paired")
    return mcnemar(int(np.sum(first_M & ~second_M)), int(np.sum(second_M & ~first_M)))


def paired_bootstrap(
    first: Sequence[np.ndarray],
    second: Sequence[np.ndarray],
    confidence: float = 0.95,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile interval for the mean difference of accuracy, first - second.

    With one seed the prompts are drawn anew. With several, seeds and prompts are both drawn anew,
    independently (the pigeonhole bootstrap: Owen, "The pigeonhole bootstrap", 2007), because every
    seed sees the same prompts. The spread between S seeds comes out too small by the factor
    (S - 1) / S in variance, which matters for few of them: for what training again would give, the
    t-interval over seeds is the sterner judge.

    Only how often each pattern of differences over seeds occurs matters, so a replicate's prompts
    are one multinomial draw over the patterns: the same distribution, and cheap.

    Args:
      first: bool [M] for each of S seeds, verdicts on the same M prompts.
      second: of the other model, in the same order of seeds.
      confidence: of the interval.
      seed: of the draws; the same inputs give the same interval.

    Returns:
      Both ends, as fractions.
    """
    difference_SxM = np.stack(first).astype(np.int8) - np.stack(second).astype(np.int8)
    S, M = difference_SxM.shape
    pattern_SxQ, count_Q = np.unique(difference_SxM, axis=1, return_counts=True)
    rng = np.random.default_rng(seed)
    prompts_BxQ = rng.multinomial(M, count_Q / M, REPLICATES)
    if S == 1:
        mean_B = prompts_BxQ @ pattern_SxQ[0] / M
    else:
        seeds_BxS = rng.multinomial(S, np.full(S, 1 / S), REPLICATES)
        mean_B = np.sum((seeds_BxS @ pattern_SxQ) * prompts_BxQ, axis=1) / (S * M)
    tail = (1 - confidence) / 2
    low, high = np.quantile(mean_B, (tail, 1 - tail))
    return float(low), float(high)
