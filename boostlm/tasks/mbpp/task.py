"""MBPP: short Python programs, verified with the problem's asserts.

The prompt is from Austin et al. 2021 (arXiv 2108.07732): "You are an expert Python programmer, and
here is your task: ... Your code should pass these tests:", the asserts, and "[BEGIN]". The response
is the program, and it ends at "[DONE]". The packaged mbpp_3shot.txt contains the paper's examples,
problems 2, 3 and 4. Programs run only in the sandbox. If no sandbox works, the task does not start.

The splits are the official ones: 374 training, 90 validation and 500 test problems. Of the 374
training problems, 15 share 13 consecutive words with a test problem, or match a shorter one
entirely (see `contamination`). They are removed, which leaves 359 training problems. The other
splits are unchanged.
"""

import ast
import builtins
from collections.abc import Mapping, Sequence

import numpy as np

from boostlm.config import SPLITS, DataConfig
from boostlm.sandbox import Sandbox, require_sandbox
from boostlm.sandbox.packages import locate
from boostlm.tasks.base import Prompts, Task, need_prompts
from boostlm.tasks.contamination import uncontaminated
from boostlm.tasks.few_shot import load_few_shot
from boostlm.tasks.mbpp.asserts import defined_names, names_in, parse_assert, parse_code
from boostlm.tasks.mbpp.check import MbppProblem, check_responses
from boostlm.tasks.mbpp.programs import program_of
from boostlm.tasks.mbpp.source import load_problems

STOP = "[DONE]"
CPU_SECONDS = 5.0  # per check; every reference takes less than 1 s, except one that takes 2 s

_EXAMPLE = r"You are .+\n\[BEGIN\]\n.+\n"
_SEPARATOR = f"{STOP}\n\n"  # after each few-shot example
_GROUPS = ((12, "1-11 words"), (15, "12-14 words"), (18, "15-17 words"))  # about a quarter each
_TRIES = 1000


def mbpp_prompt(problem: MbppProblem) -> str:
    """The prompt of a problem: its text and its asserts."""
    tests = "\n".join(test.strip() for test in problem.tests)
    return (
        f"You are an expert Python programmer, and here is your task: {problem.text.strip()} "
        f"Your code should pass these tests:\n\n{tests}\n[BEGIN]\n"
    )


def response_text(code: str) -> str:
    r"""A program as a response: "\n" line ends, no trailing spaces, one "\n" at the end.

    The data set's programs contain carriage returns and trailing spaces. The model should not learn
    to write them.
    """
    lines = [line.rstrip() for line in code.replace("\r\n", "\n").split("\n")]
    return "\n".join(lines).strip("\n") + "\n"


def task_length_group(problem: MbppProblem) -> str:
    """The group of a problem: the number of words in its text. It needs no reference."""
    words = len(problem.text.split())
    return next((name for limit, name in _GROUPS if words < limit), "18+ words")


class MbppAnswerKey:
    """The references of one split; see `AnswerKey`."""

    def __init__(self, problems: Sequence[MbppProblem], packages: Sequence[str] = ()) -> None:
        """Takes one problem per prompt, in order of prompt id, and the sandbox's packages."""
        self._problems = tuple(problems)
        self._packages = tuple(packages)

    def grade(self, prompt_ids: Sequence[int], responses: Sequence[str]) -> np.ndarray:
        """Whether each program passes its problem's asserts: bool [len(responses)].

        Programs run in parallel on all cores. Duplicate programs for a prompt run once.

        Raises:
          SandboxError: the sandbox itself failed. This says nothing about the programs.
        """
        problems = [self._problem(i) for i in prompt_ids]
        codes = [text.partition(STOP)[0] for text in responses]
        if not codes:
            return np.zeros((0,), bool)
        with Sandbox(packages=self._packages, cpu_seconds=CPU_SECONDS) as sandbox:
            return np.array(check_responses(problems, codes, sandbox), bool)

    def correct_response(self, prompt_id: int, rng: np.random.Generator | None = None) -> str:
        """The reference as a response. `rng` is unused because each problem has one reference."""
        del rng
        return response_text(self._problem(prompt_id).reference)

    def wrong_response(self, prompt_id: int, rng: np.random.Generator) -> str:
        """Another problem's program or the reference with empty returns, with equal probability.

        Both fail by construction, so neither is run. Another problem's program does not define the
        name that the asserts call. With empty returns, the called function returns None where a
        value is expected. If the returns cannot be emptied, another problem's program is used.

        Raises:
          RuntimeError: no wrong response was found, as in a split with a single problem.
        """
        problem = self._problem(prompt_id)
        called = _called_names(problem)
        if rng.random() < 0.5 and (spoilt := _without_results(problem, called)):
            return spoilt
        for _ in range(_TRIES if len(self._problems) > 1 and not called & _BUILTINS else 0):
            other = (prompt_id + rng.integers(1, len(self._problems))) % len(self._problems)
            code = self._problems[other].reference
            if "import *" not in code and not called & _all_names(code):
                return response_text(code)
        if spoilt := _without_results(problem, called):
            return spoilt
        raise RuntimeError(f"no wrong response to MBPP problem {problem.task_id}")

    def _problem(self, prompt_id: int) -> MbppProblem:
        if not 0 <= prompt_id < len(self._problems):
            raise IndexError(f"prompt {prompt_id} of {len(self._problems)}")
        return self._problems[prompt_id]


_BUILTINS = frozenset(dir(builtins))  # a call to a builtin works in any program


def _called_names(problem: MbppProblem) -> set[str]:
    """The program's names that the first assert uses."""
    own = defined_names(problem.reference)
    made = defined_names(problem.setup) if problem.setup else set()
    [check, *_] = parse_assert(problem.tests[0], own | made)
    return names_in(parse_code(check.question)) & own


def _all_names(code: str) -> set[str]:
    """All names that a program reads, binds or imports."""
    tree = parse_code(code)
    named = [node for node in ast.walk(tree) if isinstance(node, ast.alias)]
    imported = {(alias.asname or alias.name).partition(".")[0] for alias in named}
    return names_in(tree) | defined_names(code) | imported


def _without_results(problem: MbppProblem, called: set[str]) -> str | None:
    """The reference with the called function's returns emptied, if that must fail; else None.

    Failure is certain if the first assert compares the function's direct result with a literal that
    is not None, and the function is defined once, is undecorated, and returns a value.
    """
    own = defined_names(problem.reference)
    [check, *_] = parse_assert(problem.tests[0], own)
    statement = parse_code(check.question).body[0]
    question = statement.value if isinstance(statement, ast.Expr) else None
    tree = parse_code(problem.reference)
    functions = [n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name in called]
    try:
        due = ast.literal_eval(check.expected)
    except (ValueError, SyntaxError, TypeError):
        return None
    function = question.func if isinstance(question, ast.Call) else None
    name = function.id if isinstance(function, ast.Name) else None
    if (
        name is None
        or check.relation != "=="
        or due is None
        or len(called) != 1
        or name not in called
        or len(functions) != 1
        or functions[0].decorator_list
    ):
        return None
    own_nodes = _nodes_of_function(functions[0])
    returns = [n for n in own_nodes if isinstance(n, ast.Return) and n.value is not None]
    if not returns or any(isinstance(n, ast.Yield | ast.YieldFrom) for n in own_nodes):
        return None
    for node in returns:
        node.value = None
    return response_text(ast.unparse(tree))


def _nodes_of_function(function: ast.FunctionDef) -> list[ast.AST]:
    """The nodes of a function's body, excluding nested functions and classes."""
    found: list[ast.AST] = []
    waiting: list[ast.AST] = list(function.body)
    while waiting:
        node = waiting.pop()
        found.append(node)
        if not isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Lambda):
            waiting += ast.iter_child_nodes(node)
    return found


class MbppTask(Task):
    """The MBPP task; see `Task`. Its public attributes and repr contain no references."""

    name = "mbpp"
    stop_strings = (STOP,)

    def __init__(self, problems: Mapping[str, Sequence[MbppProblem]], data: DataConfig) -> None:
        """Selects the prompts from the official splits.

        Args:
          problems: the problems by official split, in any order.
          data: the number of prompts and the few-shot examples. The split that is not evaluated
            may have fewer than `eval_prompts` problems.

        Raises:
          BoostError: a split has too few problems, or `data.few_shot` cannot be used.
        """
        self.few_shot = load_few_shot(data.few_shot, _EXAMPLE, _SEPARATOR)
        parts = {s: sorted(problems[s], key=lambda p: p.task_id) for s in SPLITS}
        clean = uncontaminated([p.text for p in parts["train"]], [p.text for p in parts["test"]])
        if left_out := clean.count(False):
            parts["train"] = [p for p, keep in zip(parts["train"], clean, strict=True) if keep]
            self.notes = (f"mbpp: removed {left_out} training problems that overlap the test set",)
        need_prompts(data, {split: len(found) for split, found in parts.items()}, self.name)
        limits = dict.fromkeys(SPLITS, data.eval_prompts) | {"train": data.train_prompts}
        chosen = {split: parts[split][: limits[split]] for split in SPLITS}
        self.prompts = {
            split: Prompts(
                tuple(self.few_shot + mbpp_prompt(p) for p in kept),
                tuple(task_length_group(p) for p in kept),
                tuple(p.text for p in kept),
            )
            for split, kept in chosen.items()
        }
        self.__problems = chosen
        self.__packages = data.packages

    def response_of(self, text: str, prompt: str) -> str:
        """The program in what someone wrote, see `program_of`; the text itself if none is found."""
        bare = prompt.removeprefix(self.few_shot)
        program = program_of(text, bare, self.few_shot, STOP)
        return super().response_of(text, prompt) if program is None else response_text(program)

    def __repr__(self) -> str:
        counts = ", ".join(f"{split}={len(p.texts)}" for split, p in self.prompts.items())
        return f"MbppTask({counts})"

    def answer_key(self, split: str) -> MbppAnswerKey:
        """The answer key of one of SPLITS; see `Task`."""
        return MbppAnswerKey(self.__problems[split], self.__packages)


def load_mbpp(data: DataConfig) -> MbppTask:
    """Loads the task from `data.path`, or downloads it if the path is empty.

    Raises:
      SandboxError: no sandbox works on this machine; the message says what to install.
      BoostError: see `load_problems` and `MbppTask`; or a package of `data.packages` is missing.
    """
    require_sandbox()
    locate(data.packages)
    return MbppTask(load_problems(data.path), data)
