"""The width of each training step's rows: one of a few that the step is compiled for."""

import numpy as np

from boostlm.numerics import AnyArray

_TILE = 64  # inputs; narrower differences save little, and each width is compiled
_EIGHTHS = (4, 5, 6, 8)  # of the inputs of the longest row; the longest of a batch is rarely below


def widths_of(longest: int) -> tuple[int, ...]:
    """The widths for rows of up to `longest` tokens, ascending; at most four.

    Nothing else decides them, so that a run that is continued has the same, and none is new after
    the first round. A row's last token is no input.
    """
    inputs = longest - 1
    tiles = [-(-inputs * eighths // (8 * _TILE)) for eighths in _EIGHTHS]
    return tuple(sorted({1 + min(inputs, _TILE * n) for n in tiles}))


def widths_of_steps(weight_SxCxT: AnyArray) -> np.ndarray:
    """The least width of each step that holds all its tokens with weight: int [S].

    Args:
      weight_SxCxT: weights of the C rows of each of S steps, as in `Batch`.
    """
    widths = np.array(widths_of(weight_SxCxT.shape[-1]))
    weighs_SxT = np.any(np.asarray(weight_SxCxT) != 0, axis=1)
    end_S = np.max(weighs_SxT * np.arange(1, weighs_SxT.shape[1] + 1)[None], axis=1)
    return widths[np.searchsorted(widths, end_S)]
