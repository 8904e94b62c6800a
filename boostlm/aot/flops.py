"""Arithmetic of a program: multiplications and additions of its matrix products.

They are counted in the jaxpr, because XLA counts a loop's body once, however often it runs.
"""

import math
from typing import Any

from jax.extend.core import ClosedJaxpr, Jaxpr


def flops(jaxpr: Any, loops: float = 1.0) -> float:
    """FLOPs of all matrix products, including those in branches and loops.

    Args:
      jaxpr: a Jaxpr or ClosedJaxpr. Inside a shard_map, shapes and so FLOPs are those of a device.
      loops: iterations of each `while` loop whose length is only known at run time.
    """
    total = 0.0
    for equation in getattr(jaxpr, "jaxpr", jaxpr).eqns:
        name, inner = equation.primitive.name, _inner(equation.params)
        if name == "dot_general":
            total += _dot(equation)
        elif name == "cond":
            total += max(flops(branch, loops) for branch in inner)
        else:
            times = {"scan": equation.params.get("length", 1), "while": loops}.get(name, 1)
            total += times * sum(flops(part, loops) for part in inner)
    return total


def _dot(equation: Any) -> float:
    left = equation.invars[0].aval.shape
    (contracted, _), _ = equation.params["dimension_numbers"]
    return 2.0 * math.prod(equation.outvars[0].aval.shape) * math.prod(left[i] for i in contracted)


def _inner(params: dict[str, Any]) -> list[Any]:
    found = []
    for value in params.values():
        parts = value if isinstance(value, list | tuple) else (value,)
        found += [part for part in parts if isinstance(part, ClosedJaxpr | Jaxpr)]
    return found
