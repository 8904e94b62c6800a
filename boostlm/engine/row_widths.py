"""The width of each training step's rows: one of a few that the step is compiled for."""

import functools

import jax

from boostlm.lm.train_step import Batch

_TILE = 64  # inputs; narrower differences save little, and each width is compiled
_EIGHTHS = (4, 5, 6, 8)  # of the inputs of the longest row; the longest of a batch is rarely below


def widths_of(longest: int) -> tuple[int, ...]:
    """The widths for rows of up to `longest` tokens, ascending; at most four.

    Nothing else decides them, so that a run that is continued has the same, and none is new after
    the first round. The last token of a row is not an input.
    """
    inputs = longest - 1
    tiles = [-(-inputs * eighths // (8 * _TILE)) for eighths in _EIGHTHS]
    return tuple(sorted({1 + min(inputs, _TILE * n) for n in tiles}))


def cut_rows(batch: Batch, width: int) -> Batch:
    """The first `width` columns of rows."""
    return batch if width == batch.tokens_BxT.shape[1] else _cut(batch, int(width))


@functools.partial(jax.jit, static_argnums=1)
def _cut(batch: Batch, width: int) -> Batch:
    return jax.tree.map(lambda x: x[:, :width], batch)
