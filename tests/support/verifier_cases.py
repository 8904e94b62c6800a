"""Helpers for tables of cases: a reference, the right responses to it, and the wrong ones."""

import numpy as np

from boostlm.verifiers.base import DataRow


def disagreements(verifier, table, **fields):
    """(reference, response, expected) of each case whose verdict is not the expected one."""
    wrong = []
    for answer, right, not_right in table:
        reference = verifier.read(DataRow(answer, fields, fields.get("prompt", "")))
        responses = [*right, *not_right]
        verdicts = verifier.grade([reference] * len(responses), responses)
        due = [True] * len(right) + [False] * len(not_right)
        wrong += [
            (answer, text, expected)
            for text, verdict, expected in zip(responses, verdicts, due, strict=True)
            if verdict != expected
        ]
    return wrong


def count(table):
    return sum(len(right) + len(wrong) for _, right, wrong in table)


def fuzzed(seed, pieces, n, longest=12):
    """n texts of up to `longest` random pieces."""
    rng = np.random.default_rng(seed)
    return ["".join(rng.choice(pieces, rng.integers(longest + 1)).tolist()) for _ in range(n)]
