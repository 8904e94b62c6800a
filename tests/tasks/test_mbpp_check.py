"""MBPP: asserts are split, expected values never reach a candidate, and references pass."""

import contextlib
import json
import os
import subprocess
import sys

import pytest
from support.data_sets import FIXTURES, data_set
from support.sandbox_kit import need_sandbox

from boostlm.errors import BoostError
from boostlm.sandbox import Job, Outcome, Sandbox
from boostlm.tasks.mbpp.asserts import (
    defined_names,
    names_in,
    parse_assert,
    parse_code,
)
from boostlm.tasks.mbpp.check import (
    BOOL_AS_INT,
    LEANS_ON_SOLUTION,
    MbppProblem,
    check_responses,
    judge,
)

pytestmark = pytest.mark.slow

CORES = len(os.sched_getaffinity(0))


def fixture_problems():
    lines = (FIXTURES / "mbpp_fixture.jsonl").read_text().splitlines()
    return [MbppProblem.from_dict(json.loads(line)) for line in lines]


@pytest.fixture(scope="module")
def sandbox():
    need_sandbox()
    with Sandbox(workers=CORES) as running:
        yield running


def data_file(name):
    return data_set("mbpp") / name


@pytest.fixture(scope="module")
def full():
    lines = data_file("mbpp.jsonl").read_text().splitlines()
    return [MbppProblem.from_dict(json.loads(line)) for line in lines]


@pytest.fixture(scope="module")
def sanitized():
    records = json.loads(data_file("sanitized-mbpp.json").read_text())
    return [MbppProblem.from_dict(record) for record in records]


def problem(reference, *tests, setup="", task_id=0):
    return MbppProblem(task_id, "text", reference, setup, tests)


class Stub:
    """A fake sandbox that records the jobs and returns the given outcomes."""

    def __init__(self, *outcomes):
        self.outcomes, self.jobs, self.trusted = list(outcomes), [], []

    def check_many(self, jobs):
        self.jobs += jobs
        return self.outcomes or [Outcome("ok", (None,) * len(job.calls)) for job in jobs]

    def evaluate_trusted(self, jobs):
        self.trusted += jobs
        return [Outcome("ok", (None,)) for job in jobs]


# ---- what a candidate sees


def test_a_candidate_sees_the_calls_and_no_expected_value():
    p = problem(
        "def f(x): ...\nSECRET_REFERENCE = 1",
        "assert f(1) == 'expected-1'",
        "assert f(2) != 'expected-2'",
        "assert set(f(3)) == set(['expected-3'])",
        "assert math.isclose(f(4), 99.25, rel_tol=0.125)",
        "assert abs(f(5) - 99.25) < 0.125",
        "assert f(6)",
        "assert not f(7)",
        "assert f(8) == 'expected-8', 'expected-message'",
        setup="import math",
    )
    stub = Stub()
    judge([p], ["the candidate's code"], stub)
    [job] = stub.jobs
    calls = ("f(1)", "f(2)", "set(f(3))", "f(4)", "f(5)", "not not f(6)", "not not f(7)", "f(8)")
    assert job == Job("the candidate's code", "import math", calls)
    assert [j.code for j in stub.trusted] == [""]
    assert stub.trusted[0].calls == ("set(['expected-3'])",)


def test_real_problems_show_no_expected_value(full, sanitized):
    for p in [*full, *sanitized]:
        stub = Stub()
        judge([p], ["code"], stub, challenge=True)
        [job] = stub.jobs
        assert len(job.calls) == len(p.tests) + len(p.challenge_tests)
        assert not any("==" in call or call.startswith("not f") for call in job.calls)
        assert job.setup == p.setup
        assert all(j.code == "" for j in stub.trusted)


def test_the_host_compares_values_and_the_reason_reveals_none():
    p = problem("def f(x): ...", "assert f(1) == 1", "assert f(2) == [2]", "assert f(3)")
    right = Outcome("ok", (1, [2], True))
    stub = Stub(right, Outcome("ok", (1, (2,), True)), Outcome("ok", (1, [2], False)), Outcome("timeout", (), "slow"))  # fmt: skip
    verdicts = judge([p] * 5, ["a", "b", "c", "d", "a"], stub)
    assert [v.passed for v in verdicts] == [True, False, False, False, True]
    assert [v.reason for v in verdicts] == [
        *("", "wrong: comparison 2 of 3", "wrong: comparison 3 of 3", "timeout: slow", "")
    ]
    assert [job.code for job in stub.jobs] == ["a", "b", "c", "d"]  # equal jobs run once


def test_a_problem_that_cannot_be_graded_is_named_in_the_error():
    stub = Stub()
    with pytest.raises(BoostError, match="2 problems but 1"):
        judge([problem("", "assert f(1) == 1")] * 2, [""], stub)
    for reference, tests, words in (
        ("def f(x): ...", ["assert f(1).x(3)"], "problem 77: a test cannot be split"),
        ("def f(x): ...", [], "problem 77: there are no tests"),
        ("def f(x: ...", ["assert f(1)"], "problem 77: not Python"),
        ("def f(x): ...", ["assert f(1) == ("], "problem 77: a test is not Python"),
    ):
        with pytest.raises(BoostError, match=words):
            judge([problem(reference, *tests, task_id=77)], [""], stub)
    with pytest.raises(BoostError, match="5: the field 'code' is missing"):
        MbppProblem.from_dict({"task_id": 5, "text": ""})


# ---- running


def test_an_expected_value_that_needs_the_candidate_is_rejected(sandbox):
    p = problem("LIMIT = 3\ndef f(x): ...", "assert f(1) == [LIMIT, 1]", task_id=78)
    with pytest.raises(BoostError, match="a test cannot be split"):
        judge([p], ["def f(x): return 3"], sandbox)
    p = problem("class A: pass\ndef f(x): ...", "assert f(1) == len(three)", setup="three = [A()]", task_id=79)  # fmt: skip
    with pytest.raises(BoostError, match="a test cannot be split"):
        judge([p], ["def f(x): return 3"], sandbox)
    p = problem("def f(x): ...", "assert f(1) == sum(nobody)", task_id=80)
    with pytest.raises(BoostError, match=r"problem 80: the expected value .* cannot be computed"):
        judge([p], ["nobody = [1]\ndef f(x): return 1"], sandbox)


def test_the_fixtures_references_pass_and_other_answers_do_not(sandbox):
    problems = fixture_problems()
    assert len(problems) >= 12
    references = [p.reference for p in problems]
    verdicts = judge(problems, references, sandbox, challenge=True)
    assert [(p.task_id, v) for p, v in zip(problems, verdicts) if not v.passed] == []
    for wrong in (
        [code.replace("return ", "return None and ") for code in references],
        [code.replace("return ", "return [0] or ") for code in references],
        [code.replace("return ", "raise SystemExit #") for code in references],
        references[1:] + references[:1],
        [""] * len(problems),
        ["import os\nos._exit(0)"] * len(problems),
    ):
        assert check_responses(problems, wrong, sandbox) == [False] * len(problems)


@pytest.mark.parametrize(
    ("number", "code", "passed"),
    [
        (1, "def mean_of(n): return int(sum(n) / len(n)) if sum(n) % len(n) == 0 else 1.5", True),
        (
            1,
            "from fractions import Fraction\ndef mean_of(n): return Fraction(sum(n), len(n))",
            False,
        ),
        (2, "def tally(items): return {i: items.count(i) for i in items}", True),
        (2, "def tally(items): return {i: bool(items.count(i)) for i in items}", False),
        (4, "def is_name(text): return text in ('Ada', 'Grace')", True),
        (4, "def is_name(text): return [] if text not in ('Ada', 'Grace') else [0]", True),
        (4, "def is_name(text): return True", False),
        (5, "def circle_area(r): return 3.1415 * r * r", True),
        (5, "def circle_area(r): return 3.2 * r * r", False),
        (
            5,
            "class All(float):\n    def __eq__(s, o): return True\ndef circle_area(r): return All(0)",
            False,
        ),
        (6, "def divisors(n): return (d for d in range(1, n + 1) if n % d == 0)", False),
        (6, "def divisors(n): return tuple(d for d in range(1, n + 1) if n % d == 0)", True),
        (9, "def list_size(items): return items.__sizeof__() + 16", True),
        (9, "import sys\nsys.getsizeof = lambda x: 0\ndef list_size(items): return 0", False),
        (13, "def shortness(words): return tuple((w, int(len(w) < 4)) for w in words)", False),
        (13, "def shortness(words): return [(w, len(w) < 4) for w in words]", False),
    ],
)
def test_other_responses_are_graded_by_their_return_values(sandbox, number, code, passed):
    assert check_responses([fixture_problems()[number]], [code], sandbox) == [passed]


# ---- the real data


def test_the_lists_of_exceptions_are_exact(full, sanitized):
    found = set()
    for p in [*full, *sanitized]:
        own = defined_names(p.reference)
        tests = [c for t in p.tests + p.challenge_tests for c in _checks(p, t, own)]
        if any(len(names_in(parse_code(c.question)) & own) > 1 for c in tests):
            found.add(p.task_id)  # a call uses more of the candidate than one function
        if names_in(parse_code(p.setup)) & own:
            found.add(p.task_id)
        if any("sys." in c.expected for c in tests):
            found.add(p.task_id)
    assert found == set(LEANS_ON_SOLUTION)
    assert all(len(reason) > 20 for reason in [*LEANS_ON_SOLUTION.values(), *BOOL_AS_INT.values()])


def _checks(p, test, own):
    made = defined_names(p.setup) if names_in(parse_code(p.setup)) & own else set()
    return parse_assert(test, own | made)


def test_only_listed_references_need_bool_as_int(full, sandbox, monkeypatch):
    listed = [p for p in full if p.task_id in BOOL_AS_INT]
    assert len(listed) == len(BOOL_AS_INT)
    assert all(check_responses(listed, [p.reference for p in listed], sandbox, challenge=True))
    monkeypatch.setattr("boostlm.tasks.mbpp.check.BOOL_AS_INT", {})
    assert not any(check_responses(listed, [p.reference for p in listed], sandbox))


WRONG = [
    lambda code: code.replace("return ", "return 1 - "),
    lambda code: code.replace("return ", "return str(1) or "),
    lambda code: code + "\nwhile len('x'):\n    raise MemoryError",
    lambda code: "",
]


@pytest.fixture(scope="module")
def answers(full, sandbox):
    """(problems, codes, verdicts): every reference, then a wrong program for every third."""
    third = full[::3]
    wrong = [WRONG[i % 4](p.reference) for i, p in enumerate(third)]
    problems, codes = [*full, *third], [*(p.reference for p in full), *wrong]
    return problems, codes, judge(problems, codes, sandbox, challenge=True)


def test_every_reference_passes(full, answers, sanitized, sandbox):
    assert (len(full), len(sanitized)) == (974, 427)
    assert [(p.task_id, v) for p, v in zip(full, answers[2]) if not v.passed] == []
    verdicts = judge(sanitized, [p.reference for p in sanitized], sandbox, challenge=True)
    assert [(p.task_id, v) for p, v in zip(sanitized, verdicts) if not v.passed] == []


def test_wrong_answers_to_real_problems_fail(full, answers):
    wrong = answers[2][len(full) :]
    assert len(wrong) == 325
    assert [p.task_id for p, v in zip(full[::3], wrong) if v.passed] == []


def test_verdicts_are_the_same_three_times_with_every_core_oversubscribed(answers):
    """Four workers per core, each running a check."""
    problems, codes, calm = answers
    with Sandbox(workers=4 * CORES) as crowded:
        for _ in range(3):
            assert judge(problems, codes, crowded, challenge=True) == calm


@contextlib.contextmanager
def busy_cores(times):
    """Keeps every core busy with `times` other processes per core."""
    burn = "while True: pass"
    others = [subprocess.Popen([sys.executable, "-S", "-c", burn]) for _ in range(times * CORES)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def test_the_time_limit_counts_the_programs_own_time_only(sandbox):
    """With four busy processes per core, 0.7 CPU seconds stay within the limit of 1; 3 do not."""
    p = problem("def f(x): ...", "assert f(1) == 1")
    spin = "import time\ndef f(x):\n    while time.process_time() < {}: pass\n    return x"
    codes = [spin.format(0.7 + n / 1e6) for n in range(2 * CORES)] + [spin.format(3.0)]
    limits = {"cpu_seconds": 1.0, "wall_seconds": 90.0}
    with Sandbox(workers=CORES, **limits) as one, Sandbox(workers=4 * CORES, **limits) as many:
        calm = judge([p] * len(codes), codes, one)
        with busy_cores(4):
            assert judge([p] * len(codes), codes, many) == calm
    assert [v.passed for v in calm] == [True] * (2 * CORES) + [False]
    assert calm[-1].reason == "timeout: more than 1.0 CPU seconds"
