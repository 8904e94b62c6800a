"""The exceptions that a user is meant to read."""

from collections.abc import Sequence
from typing import Any


class BoostError(Exception):
    """An error that the user can solve: says what was wrong, where, and what to do.

    The command line prints it without a traceback and exits with status 2.
    """


class WaitingForPeople(BoostError):
    """Nothing is wrong: the run continues once people have answered. Exit status 3.

    Attributes:
      queries: what they are asked.
    """

    def __init__(self, message: str, queries: Sequence[Any] = ()) -> None:
        super().__init__(message)
        self.queries = tuple(queries)
