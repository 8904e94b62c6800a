"""What is finite is told from what is not; sums and compaction are tested with what uses them."""

import jax
import numpy as np

from boostlm.numerics import all_finite


def test_only_finite_numbers_are_finite():
    good = {"a": np.ones(3, np.float32), "n": np.int64(3), "h": jax.numpy.ones(2, "bfloat16")}
    assert all_finite(good)
    for bad in (np.nan, np.inf, -np.inf):
        for dtype in ("float32", "bfloat16"):
            assert not all_finite(good | {"x": jax.numpy.array([1, bad], dtype)})
