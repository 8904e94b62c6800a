"""How numbers and names are written, on the page and in the terminal."""

import re
import textwrap

from boostlm.statistics.intervals import Estimate


def percent(value: float) -> str:
    """An accuracy, such as 45.6%."""
    return f"{100 * value:.1f}%"


def points(value: float) -> str:
    """A difference of accuracies, such as +6.3; what rounds to 0 has no sign."""
    rounded = round(100 * value, 1)
    return f"{rounded:+.1f}" if rounded else "0.0"


def difference(e: Estimate) -> str:
    """A difference with its interval, in words."""
    if e.half is None:
        return f"{points(e.mean)} points"
    whose = f"over {e.n} seeds and the prompts" if e.n > 1 else "for these two models"
    return f"{points(e.mean)} points (95% interval {interval_ends(e)}, {whose})"


def interval_ends(e: Estimate) -> str:
    """Both ends of a difference's interval; empty if there is none."""
    if e.low is None or e.high is None:
        return ""
    return f"{points(e.low)} to {points(e.high)}"


def plus_minus(e: Estimate) -> str:
    """Half the interval in points; empty if there is none."""
    return "" if e.half is None else f"\N{PLUS-MINUS SIGN}{100 * e.half:.1f}"


def rate(gain_per_100: float | None) -> str:
    """Points for 100 labels, with two decimals since a label does little."""
    if gain_per_100 is None:
        return "-"
    rounded = round(100 * gain_per_100, 2)
    return f"{rounded:+.2f}" if rounded else "0.00"


def short_name(name: str, width: int = 22) -> str:
    """A name on at most two lines; of a very long one the beginning and the end."""
    name = " ".join(name.split())
    lines = textwrap.wrap(name, width)
    if len(lines) > 2:
        tail = textwrap.wrap(name[::-1], width)[0][::-1]  # as many whole words as fit
        lines = [textwrap.wrap(name, width - 2)[0] + " \N{HORIZONTAL ELLIPSIS}", tail]
    return "\n".join(lines)


def minus(text: str) -> str:
    """The text with proper minus signs, which a terminal may lack."""
    return re.sub(r"(?<!\S)-(?=\d)", "\N{MINUS SIGN}", text)


def short_arm(arm: str) -> str:
    """An arm's name in at most 11 characters: its beginning, and the end of its own settings."""
    if len(arm) <= 11:
        return arm
    base, parenthesis, settings = arm.partition("(")
    return f"{base[:4]}\N{HORIZONTAL ELLIPSIS}{settings[-7:-1]}" if parenthesis else arm[:11]
