"""Every public name has an example in its docstring, and every example prints what it says."""

import ast
import doctest
import functools
import importlib
import inspect
import itertools
import math
import types

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import boostlm

# What the examples may use without importing it; docs/api.md says so.
GLOBALS = {
    "boostlm": boostlm,
    "functools": functools,
    "jax": jax,
    "jnp": jnp,
    "math": math,
    "np": np,
    "optax": optax,
}
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def docstring_of(name):
    """The docstring of a public name; that of a plain value is the text after its definition."""
    thing = getattr(boostlm, name)
    thing = inspect.unwrap(thing)  # a jitted function
    if isinstance(thing, types.ModuleType | types.FunctionType | type):
        return inspect.getdoc(thing)
    module = importlib.import_module(boostlm._MODULE_OF[name])
    body = ast.parse(inspect.getsource(module)).body
    for node, after in itertools.pairwise(body):
        targets = [ast.unparse(t) for t in node.targets] if isinstance(node, ast.Assign) else []
        if name in targets and isinstance(after, ast.Expr):
            return inspect.cleandoc(ast.literal_eval(after.value))
    return ""


@pytest.mark.slow
@pytest.mark.parametrize("name", boostlm.__all__)
def test_the_example_of_a_public_name_prints_what_it_says(name):
    text = docstring_of(name)
    _, heading, example = text.partition("\nExample:\n")
    assert heading, f"boostlm.{name} has no Example section at the end of its docstring"
    test = doctest.DocTestParser().get_doctest(example, dict(GLOBALS), name, None, 0)
    assert any(e.want for e in test.examples), f"the example of boostlm.{name} prints nothing"
    said = []
    failed, _ = doctest.DocTestRunner(optionflags=FLAGS).run(test, out=said.append)
    assert not failed, "".join(said)
