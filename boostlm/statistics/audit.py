"""What a small exact check says about the labels and the filter.

The filter's verdict is known for every response, the truth only for the audited ones. An audit
draws responses at random within each verdict (a stratified sample: the rarer verdict would else
hardly be seen), checks them exactly, and weighs what it finds by how many responses each verdict
has. Nothing here looks at a response that was not drawn, so the estimates are what someone gets
who pays people for the checks.
"""

from typing import Any, NamedTuple

import numpy as np
from scipy import special

from boostlm.functional.prng import Purpose


class Checked(NamedTuple):
    """Counts of an audit, numbers or arrays [..., H] over strata (rounds, seeds).

    Attributes:
      of: how many there are.
      checked: of those, how many were drawn and checked.
      right: of those, how many are correct.
    """

    of: Any
    checked: Any
    right: Any

    @property
    def wrong(self) -> "Checked":
        """The same with the wrong ones counted."""
        return Checked(self.of, self.checked, np.subtract(self.checked, self.right))


class Rate(NamedTuple):
    """An estimated rate and its interval, numbers or arrays [...].

    Attributes:
      estimate: in [0, 1]; NaN where the audit saw nothing that it could be estimated from.
      low: lower end.
      high: upper end.
    """

    estimate: Any
    low: Any
    high: Any


def clopper_pearson(right: Any, checked: Any, confidence: float = 0.95) -> tuple[Any, Any]:
    """The exact (never too narrow) interval for a binomial rate; arrays, and real counts, as well.

    Nothing checked: 0 to 1.
    """
    right, checked = np.asarray(right, np.float64), np.asarray(checked, np.float64)
    tail, wrong = (1 - confidence) / 2, np.maximum(checked - right, 0.0)
    least, rest = np.maximum(right, 1e-9), np.maximum(wrong, 1e-9)
    low = np.where(right > 1e-9, special.betaincinv(least, wrong + 1, tail), 0.0)
    high = np.where(wrong > 1e-9, special.betaincinv(right + 1, rest, 1 - tail), 1.0)
    return low, high


def right_rate(part: Checked, confidence: float = 0.95) -> Rate:
    """The fraction that is right, over all strata: sum_h W_h right_h / checked_h, W_h = of_h / of.

    The interval is Clopper and Pearson's. With several strata it takes Kish's effective number of
    checks, 1 / sum_h (W_h^2 / checked_h): that of a simple sample with the same variance, if the
    strata are alike. With one stratum that is the number of checks. A stratum of which nothing was
    checked leaves the rate open: 0 to 1.
    """
    of, checked, right = (np.asarray(x, np.float64) for x in part)
    with np.errstate(divide="ignore", invalid="ignore"):
        total = of.sum(-1, keepdims=True)
        weight = np.where(of > 0, of / np.where(total > 0, total, 1), 0.0)
        estimate = np.sum(np.where(of > 0, weight * right / checked, 0.0), -1)
        number = 1 / np.sum(np.where(of > 0, weight**2 / checked, 0.0), -1)
    number = np.where(np.isfinite(number), number, 0.0)
    estimate = np.where(number > 0, estimate, np.nan)
    low, high = clopper_pearson(np.nan_to_num(estimate) * number, number, confidence)
    return Rate(estimate, low, high)


def miss_rate(accepted: Checked, rejected: Checked, confidence: float = 0.95) -> Rate:
    """P(rejected | correct), from audits of the accepted and of the rejected responses.

    By Bayes' rule over the two verdicts, with A accepted and R rejected responses of which the
    fractions a and r are correct,

        P(rejected | correct) = R r / (R r + A a).

    A and R are known exactly, a and r are estimated independently (`right_rate`). The rejected
    alone do not give it: what is correct among them must be held against what is correct among the
    accepted. The rate rises with r and falls with a. So if both of their intervals hold, it lies
    between its value at (r's low, a's high) and at (r's high, a's low); each fails with a chance
    of at most (1 - confidence) / 2 when they are Clopper and Pearson's of that level, so both
    hold with at least `confidence` (Bonferroni). For one round that is a guarantee, about the
    fraction of *this* round's correct responses (sampling without replacement errs less than the
    binomial allows for); over several strata it is as good as Kish's number.
    """
    return _share(rejected, accepted, confidence)


def false_accept_rate(accepted: Checked, rejected: Checked, confidence: float = 0.95) -> Rate:
    """P(accepted | wrong) = A (1 - a) / (A (1 - a) + R (1 - r)); as `miss_rate`."""
    return _share(accepted.wrong, rejected.wrong, confidence)


def _share(ours: Checked, others: Checked, confidence: float) -> Rate:
    """Of all that count as right, the fraction that is in `ours`."""
    level = 1 - (1 - confidence) / 2
    a, b = right_rate(ours, level), right_rate(others, level)
    n, m = (np.sum(np.asarray(part.of, np.float64), -1) for part in (ours, others))

    def quotient(x, y, without):
        part, whole = n * x, n * x + m * y
        return np.where(whole > 0, part / np.where(whole > 0, whole, 1.0), without)

    empty = [np.where(total > 0, rate.estimate, 0.0) for total, rate in ((n, a), (m, b))]
    return Rate(
        quotient(*empty, np.nan),
        quotient(a.low, b.high, 0.0),
        quotient(a.high, b.low, 1.0),
    )


def draw_audit(
    seed: int, round_: int, accepted: np.ndarray, size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Which responses are checked: as many accepted as rejected ones, as far as there are.

    Args:
      seed: of the run; with the round it decides the draw.
      round_: rounds of training so far.
      accepted: bool, any shape: the filter's verdicts.
      size: checks in all.

    Returns:
      Flat indices of the drawn accepted and of the drawn rejected responses, without repeats.
    """
    rng = np.random.default_rng([seed, int(Purpose.AUDIT), round_, 0])
    yes, no = np.flatnonzero(accepted), np.flatnonzero(~np.asarray(accepted))
    first = min(len(yes), max(size // 2, size - len(no)))
    second = min(len(no), size - first)
    return rng.permutation(yes)[:first], rng.permutation(no)[:second]


def draw_labels(seed: int, round_: int, labels: int, size: int) -> np.ndarray:
    """Which of a round's labels are checked: a simple sample of at most `size`, int64."""
    rng = np.random.default_rng([seed, int(Purpose.AUDIT), round_, 1])
    return rng.permutation(labels)[:size]
