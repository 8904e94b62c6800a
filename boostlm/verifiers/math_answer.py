"""The verifier `math`: the response's last mathematical answer equals the reference's.

Answers are LaTeX or plain numbers, sets, intervals and expressions, compared by the package
math-verify in a process of its own (`math_worker`).
"""

import atexit
import functools
import importlib.util
import json
import re
import selectors
import subprocess
import sys
from collections.abc import Sequence

import numpy as np

from boostlm.errors import BoostError
from boostlm.verifiers.base import DataRow, UnusableReference, Verifier, as_text

SECONDS = 10.0  # that one comparison may take; after that, the response is wrong
_START_SECONDS = 120.0  # for the process to import SymPy

_INTEGER = re.compile(r"(?<![\w.])\d{1,9}(?![\w.])")


class _Worker:
    """The process that compares, started when it is first needed and again after it was ended."""

    def __init__(self) -> None:
        self._process: subprocess.Popen | None = None

    def compare(self, reference: str, response: str) -> bool | None:
        """Whether they are equal; None if the reference cannot be read, or that took too long."""
        for _ in range(2):  # the process may have ended since the last comparison
            answer = self._ask(json.dumps([reference, response]))
            if answer != "":
                break
            self.end()
        return json.loads(answer) if answer else None

    def _ask(self, line: str) -> str | None:
        """The answer to a line; "" if the process ended, None if it took too long."""
        if self._process is None:
            self._start()
            if self._line(_START_SECONDS) != "ready\n":
                return ""
        process = self._process
        assert process and process.stdin  # noqa: PT018
        try:
            process.stdin.write(line + "\n")
            process.stdin.flush()
        except OSError:
            return ""
        return self._line(SECONDS)

    def _line(self, seconds: float) -> str | None:
        """The next line of the process; "" if it ended; None if it took too long and was ended."""
        process = self._process
        assert process and process.stdout  # noqa: PT018
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            if selector.select(seconds):
                return process.stdout.readline()
        self.end()
        return None

    def _start(self) -> None:
        if importlib.util.find_spec("math_verify") is None:
            raise BoostError(
                "data.verifier math needs the package math-verify: pip install 'boostlm[verifiers]'"
            )
        command = [sys.executable, "-P", "-m", "boostlm.verifiers.math_worker"]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def end(self) -> None:
        """Ends the process, if there is one."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


@functools.cache
def _worker() -> _Worker:
    worker = _Worker()
    atexit.register(worker.end)
    return worker


def _read(row: DataRow) -> str:
    text = as_text(row.answer)
    if _worker().compare(text, text) is not True:
        raise UnusableReference(f"math-verify cannot read the answer {text[:40]!r}")
    return text


def _grade(references: Sequence[str], responses: Sequence[str]) -> np.ndarray:
    pairs = list(zip(references, responses, strict=True))
    verdicts = {pair: _worker().compare(*pair) is True for pair in dict.fromkeys(pairs)}
    return np.array([verdicts[pair] for pair in pairs], bool)


def _shifted(reference: str, rng: np.random.Generator) -> str | None:
    """The reference with one of its whole numbers changed by at most 3."""
    numbers = list(_INTEGER.finditer(reference))
    if not numbers:
        return None
    match = numbers[int(rng.integers(len(numbers)))]
    changed = abs(int(match[0]) + int(rng.choice([-3, -2, -1, 1, 2, 3])))
    return f"{reference[: match.start()]}{changed}{reference[match.end() :]}"


MATH = Verifier(read=_read, grade=_grade, right=lambda reference, rng: reference, mistake=_shifted)
"""The reference may be any text whose last formula is the answer."""
