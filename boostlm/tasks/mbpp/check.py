"""Grades responses to MBPP problems: runs them in the sandbox and compares the values outside it.

The sandbox receives the candidate's code, the problem's setup and the calls. The host computes the
expected values: it parses literals, and evaluates other expressions in a sandboxed process that
never runs a candidate.

Equality is `values.equal`: types must match exactly, except that int, float and complex compare as
numbers. The data set needs this exception: 21 of the 974 reference solutions, and 6 of the 427
sanitized ones, return 5.0 where 5 is expected or the reverse, always as the whole value. A bool is
not an int. Only reference 414 needs that rule relaxed, and BOOL_AS_INT lists it. Four references
return a Counter or defaultdict where a dict is expected; the sandbox returns these as dicts.
"""

import ast
import builtins
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from boostlm.errors import BoostError
from boostlm.sandbox.jobs import Job, Outcome
from boostlm.sandbox.runner import Sandbox
from boostlm.tasks.mbpp.asserts import (
    Check,
    defined_names,
    holds,
    names_in,
    parse_assert,
    parse_code,
)

# task_id -> reason, for problems whose reference passes only if True and False count as 1 and 0.
BOOL_AS_INT = {
    414: "the reference returns 0 and 1 where the asserts expect False and True",
}

# task_id -> reason, for problems whose asserts use more of the solution than the tested function.
# None needs the candidate to compute an expected value; such a problem would be rejected.
LEANS_ON_SOLUTION = {
    367: "test_setup_code builds trees of the solution's class Node; only the calls use them",
    596: "the expected side calls sys.getsizeof, and only the solution imports sys: the trusted "
    "process uses the reference's import, not the candidate's",
    601: "the arguments of the calls are objects of the solution's class Pair",
    927: "test_setup_code builds trees of the solution's class Node; only the calls use them",
}


@dataclass(frozen=True)
class MbppProblem:
    """One problem, from either file of the data set.

    Attributes:
      task_id: the problem's number.
      text: the task description.
      reference: the data set's solution. It is trusted, and candidates never see it.
      setup: statements that run after the candidate's code and before the calls.
      tests: assert statements.
      challenge_tests: additional assert statements. Few problems have any.
    """

    task_id: int
    text: str
    reference: str
    setup: str
    tests: tuple[str, ...]
    challenge_tests: tuple[str, ...] = ()

    @classmethod
    def from_dict(cls, record: Mapping) -> "MbppProblem":
        """Reads a record of mbpp.jsonl (`text`) or sanitized-mbpp.json (`prompt`).

        Raises:
          BoostError: a field is missing.
        """
        try:
            imports = record.get("test_imports", [])
            return cls(
                task_id=record["task_id"],
                text=record["text"] if "text" in record else record["prompt"],
                reference=record["code"],
                setup="\n".join([*imports, record.get("test_setup_code", "")]).strip(),
                tests=tuple(record["test_list"]),
                challenge_tests=tuple(record.get("challenge_test_list", [])),
            )
        except KeyError as e:
            name = record.get("task_id", "without a number")
            raise BoostError(f"MBPP problem {name}: the field {e} is missing") from None


@dataclass(frozen=True)
class Verdict:
    """Whether a response passed, and a one-line reason if not. It reveals no expected value."""

    passed: bool
    reason: str = ""


def check_responses(
    problems: Sequence[MbppProblem],
    codes: Sequence[str],
    sandbox: Sandbox,
    challenge: bool = False,
) -> list[bool]:
    """Whether each program passes every test of its problem. `judge` also gives the reasons."""
    return [verdict.passed for verdict in judge(problems, codes, sandbox, challenge)]


def judge(
    problems: Sequence[MbppProblem],
    codes: Sequence[str],
    sandbox: Sandbox,
    challenge: bool = False,
) -> list[Verdict]:
    """A verdict for each program.

    Args:
      problems: one problem per program. Problems may repeat.
      codes: the untrusted programs.
      sandbox: a running sandbox.
      challenge: whether the challenge tests must pass too.

    Raises:
      BoostError: the lengths differ, or a problem's tests cannot be used.
      SandboxError: the sandbox itself failed. This says nothing about the programs.
    """
    if len(problems) != len(codes):
        raise BoostError(f"{len(problems)} problems but {len(codes)} programs")
    plans = [_plan(problem, challenge) for problem in problems]
    distinct = list(dict.fromkeys(plans))
    expected = dict(zip(distinct, _expected_values(distinct, sandbox)))
    jobs = [
        Job(code, problem.setup, tuple(check.question for check in plan.checks))
        for problem, code, plan in zip(problems, codes, plans)
    ]
    different = list(dict.fromkeys(jobs))  # samples repeat; equal jobs have equal outcomes
    outcomes = dict(zip(different, sandbox.check_many(different)))
    return [_verdict(plan, expected[plan], outcomes[job]) for plan, job in zip(plans, jobs)]


@dataclass(frozen=True)
class _Plan:
    """The parsed tests of a problem.

    Attributes:
      task_id: the problem's number.
      checks: all comparisons, in the order of the tests.
      trusted_setup: statements for the process that evaluates expected values.
    """

    task_id: int
    checks: tuple[Check, ...]
    trusted_setup: str


@functools.lru_cache(maxsize=4096)
def _plan(problem: MbppProblem, challenge: bool) -> _Plan:
    try:
        own = defined_names(problem.reference)
        made_of_own = set()
        trusted_setup = problem.setup
        if problem.setup and names_in(parse_code(problem.setup)) & own:
            made_of_own = defined_names(problem.setup)
            trusted_setup = ""
        tests = problem.tests + (problem.challenge_tests if challenge else ())
        checks = [c for test in tests for c in parse_assert(test, own | made_of_own)]
        if not checks:
            raise BoostError("there are no tests")
        missing = set()
        for check in checks:
            missing |= names_in(parse_code(check.expected))
        imports = _imports_of(problem.reference, missing - set(dir(builtins)))
    except (SyntaxError, ValueError) as e:
        raise BoostError(f"MBPP problem {problem.task_id}: not Python: {e}") from None
    except BoostError as e:
        raise BoostError(f"MBPP problem {problem.task_id}: {e}") from None
    setup = "\n".join([*imports, trusted_setup])
    return _Plan(problem.task_id, tuple(checks), setup)


def _imports_of(reference: str, names: set[str]) -> list[str]:
    """The reference's top-level imports of `names`, in source order."""
    found = []
    for node in parse_code(reference).body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            bound = {(a.asname or a.name).split(".")[0] for a in node.names}
            if bound & names:
                found.append(ast.unparse(node))
    return found


def _expected_values(plans: Sequence[_Plan], sandbox: Sandbox) -> list[tuple]:
    """The expected value of each check of each plan."""
    found: list[list] = []
    jobs: list[Job] = []
    places: list[tuple[int, int]] = []
    for row, plan in enumerate(plans):
        found.append([None] * len(plan.checks))
        for column, check in enumerate(plan.checks):
            try:
                found[row][column] = ast.literal_eval(check.expected)
            except (ValueError, SyntaxError, TypeError):  # needs evaluation
                places.append((row, column))
                jobs.append(Job("", plan.trusted_setup, (check.expected,)))
    outcomes = sandbox.evaluate_trusted(jobs) if jobs else []
    for (row, column), job, outcome in zip(places, jobs, outcomes):
        if outcome.status != "ok":
            raise BoostError(
                f"MBPP problem {plans[row].task_id}: the expected value {job.calls[0]!r} cannot be "
                f"computed without the candidate: {outcome.status}, {outcome.detail}"
            )
        found[row][column] = outcome.values[0]
    return [tuple(row) for row in found]


def _verdict(plan: _Plan, expected: tuple, outcome: Outcome) -> Verdict:
    if outcome.status != "ok":
        return Verdict(False, f"{outcome.status}: {outcome.detail}")
    rows = zip(plan.checks, outcome.values, expected)
    for number, (check, value, due) in enumerate(rows, 1):
        if not holds(check.relation, value, due, bool_is_int=plan.task_id in BOOL_AS_INT):
            return Verdict(False, f"wrong: comparison {number} of {len(plan.checks)}")
    return Verdict(True)
