"""Several hosts that run the same program: each does its share, and what one decides, all do.

All hosts call these functions in the same order. What fails on one host is raised on all, so that
none waits for another that has left. With one host, each function only calls its argument.
"""

import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

from boostlm.errors import BoostError
from boostlm.runtime import preemption
from boostlm.runtime.preemption import Preempted

T = TypeVar("T")

_alone = False  # whether the first host is at work on what the others wait for


class Outcome(NamedTuple):
    """What a call came to.

    Attributes:
      value: that it returned.
      error: that it raised, None if it returned.
    """

    value: Any
    error: BaseException | None


def is_first() -> bool:
    """Whether this is the host that writes."""
    return jax.process_index() == 0


def from_first(make: Callable[[], T]) -> T:
    """What `make` returns, or raises, on the first host; no other host calls it.

    For all that reads or writes the run directory, and for labels that are paid for. Within `make`
    this is a plain call.
    """
    if jax.process_count() == 1 or _alone:
        return make()
    outcome = Outcome(None, None)
    if is_first():
        with _working_alone():
            outcome = _outcome_of(make)
    data = _packed(outcome)
    length = multihost_utils.broadcast_one_to_all(np.int32(data.size))
    told = multihost_utils.broadcast_one_to_all(np.resize(data, int(length)))
    return _settle([_unpacked(told)], outcome)[0]


def by_share(n: int, do: Callable[[np.ndarray], Any]) -> Any:
    """A pytree of numpy arrays with n rows each, of which every host makes its own.

    Args:
      n: rows.
      do: makes those of some row numbers, int [rows]; no collective, and no call of this module.
    """
    if jax.process_count() == 1:
        return do(np.arange(n))
    shares = [np.arange(n)[i :: jax.process_count()] for i in range(jax.process_count())]
    mine = shares[jax.process_index()]
    parts = _all_of(_outcome_of(lambda: do(mine) if mine.size else None))
    order = np.argsort(np.concatenate(shares), kind="stable")
    made = [part for part in parts if part is not None]
    return jax.tree.map(lambda *xs: np.concatenate([np.asarray(x) for x in xs])[order], *made)


def iterate_on_first(items: Iterator[T]) -> Iterator[T]:
    """The items, none of them None, that the first host makes; the others never touch theirs."""
    while (item := from_first(lambda: next(items, None))) is not None:
        yield item


def leave_if_preempted() -> None:
    """Raises Preempted on all hosts if SIGTERM came to one of them."""
    if any(largest([float(preemption.asked())])):
        raise Preempted


def largest(values: list[float]) -> list[float]:
    """Of each of some numbers, the largest over all hosts."""
    if jax.process_count() == 1:
        return values
    return np.max(multihost_utils.process_allgather(np.array(values)), axis=0).tolist()


def require_same(what: str, value: str) -> None:
    """Raises a BoostError that names `what` where the hosts' values differ."""
    if jax.process_count() == 1:
        return
    values = _all_of(Outcome(value, None))
    other = [str(i) for i, value in enumerate(values) if value != values[0]]
    if other:
        raise BoostError(
            f"the hosts differ in their {what}: worker {', '.join(other)} from worker 0. Set up "
            "all of them in the same way (tpu_scripts/setup.sh)"
        )


@contextmanager
def _working_alone():
    global _alone
    _alone = True
    try:
        yield
    finally:
        _alone = False


def _outcome_of(make: Callable[[], Any]) -> Outcome:
    try:
        return Outcome(make(), None)
    except BaseException as error:  # a preemption and Ctrl-C too
        return Outcome(None, error)


def _all_of(mine: Outcome) -> list[Any]:
    """Every host's value, or the error of one."""
    data = _packed(mine)
    lengths = multihost_utils.process_allgather(np.int32(data.size))
    gathered = multihost_utils.process_allgather(np.resize(data, int(max(lengths))))
    return _settle([_unpacked(row) for row in gathered], mine)


def _settle(outcomes: list[Outcome], mine: Outcome) -> list[Any]:
    if mine.error is not None:
        raise mine.error  # with its own traceback
    for outcome in outcomes:
        if outcome.error is not None:
            raise outcome.error
    return [outcome.value for outcome in outcomes]


def _packed(outcome: Outcome) -> np.ndarray:
    try:
        data = pickle.dumps(outcome, protocol=pickle.HIGHEST_PROTOCOL)
        if outcome.error is not None:
            pickle.loads(data)
    except Exception:  # an exception that does not survive it
        error = BoostError(f"worker {jax.process_index()} failed: {outcome.error!r}")
        data = pickle.dumps(Outcome(None, error))
    return np.frombuffer(data, np.uint8)


def _unpacked(data: np.ndarray) -> Outcome:
    return pickle.loads(np.asarray(data).tobytes())
