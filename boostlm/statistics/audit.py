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

from boostlm.prng import Purpose


class Checked(NamedTuple):
    """Counts of an audit, numbers or arrays [..., H] over strata (rounds, seeds).

    Attributes:
      of: how many responses or labels the stratum has.
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

    A and R are known exactly; a and r are estimated independently (`right_rate`). The rejected
    alone do not determine it: the correct ones among them are compared with those among the
    accepted. The rate is a rising function of the ratio r / a, whose limits follow from those of r
    and a (MOVER: Donner and Zou, "Closed-form confidence intervals for functions of the normal mean
    and standard deviation", 2012, section on ratios): with r in [r1, r2], a in [a1, a2], estimates
    r and a,

        upper = (r a + sqrt((r a)^2 - r2 a1 (2 r - r2) (2 a - a1))) / (a1 (2 a - a1)),

    which is the box's corner r2 / a1 moved in by what independence makes unlikely, and the lower
    limit is 1 / upper of a / r. With Clopper and Pearson's limits the interval covers at least as
    often as it says in simulations over accuracies, error rates and strata (tests).
    """
    return _share(rejected, accepted, confidence)


def false_accept_rate(accepted: Checked, rejected: Checked, confidence: float = 0.95) -> Rate:
    """P(accepted | wrong) = A (1 - a) / (A (1 - a) + R (1 - r)); as `miss_rate`."""
    return _share(accepted.wrong, rejected.wrong, confidence)


def _share(ours: Checked, others: Checked, confidence: float) -> Rate:
    """Of all that count as right, the fraction that is in `ours`."""
    (x, *x_ends), (y, *y_ends) = (right_rate(part, confidence) for part in (ours, others))
    n, m = (np.sum(np.asarray(part.of, np.float64), -1) for part in (ours, others))
    open_ = ((n > 0) & np.isnan(x)) | ((m > 0) & np.isnan(y))  # a verdict of which none was checked
    x, y = np.nan_to_num(x), np.nan_to_num(y)
    with np.errstate(divide="ignore", invalid="ignore"):
        estimate = n * x / (n * x + m * y)
        # n / m may be 0 or infinite, and then so is the product, whatever the other factor is.
        high = n * _upper_ratio(x, x_ends[1], y, y_ends[0])
        low = m * _upper_ratio(y, y_ends[1], x, x_ends[0])
        high = np.where(n == 0, 0.0, np.where(m == 0, 1.0, 1 / (1 + m / high)))
        low = np.where(n == 0, 0.0, np.where(m == 0, 1.0, 1 / (1 + low / n)))
    unknown = open_ | np.isnan(estimate)
    return Rate(
        np.where(unknown, np.nan, estimate),
        np.where(unknown, 0.0, low),
        np.where(unknown, 1.0, high),
    )


def _upper_ratio(x: Any, x_high: Any, y: Any, y_low: Any) -> Any:
    """The upper limit of x / y; infinite where y may be 0."""
    below = y_low * (2 * y - y_low)
    root = np.sqrt(np.maximum((x * y) ** 2 - x_high * (2 * x - x_high) * below, 0.0))
    return np.where(below > 0, (x * y + root) / np.where(below > 0, below, 1.0), np.inf)


def draw_audit(
    seed: int, round_: int, accepted: np.ndarray, size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Which responses are checked: as many accepted as rejected ones, if there are enough.

    Args:
      seed: the run's seed; with the round it decides the draw.
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
