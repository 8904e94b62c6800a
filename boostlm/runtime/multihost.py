"""Several hosts that run the same program: each does its share, and host 0 decides for all.

All hosts call these functions in the same order. An error on one host is raised on all of them, so
that no host waits for another one that has left. One that waits long says for whom (`host_watch`).
With one host, each function only calls its argument.
"""

import functools
import pickle
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any, NamedTuple, ParamSpec, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

from boostlm.errors import BoostError
from boostlm.runtime import preemption
from boostlm.runtime.host_watch import watch
from boostlm.runtime.preemption import Preempted

T = TypeVar("T")
P = ParamSpec("P")

# Hosts send bytes in pieces of one size, so that one compiled program serves any message.
_PIECE = 1 << 18

# True while host 0 runs a function for all hosts: the others wait, so no message may be sent.
_for_all_hosts = ContextVar("for_all_hosts", default=False)


class HostResult(NamedTuple):
    """What a call gave on one host.

    Attributes:
      value: what it returned.
      error: what it raised; None if it returned.
    """

    value: Any
    error: BaseException | None


def is_host0() -> bool:
    """Whether this is host 0, which writes the run directory."""
    return jax.process_index() == 0


def on_host0(function: Callable[P, T]) -> Callable[P, T]:
    """A function that host 0 runs; every host returns, or raises, what host 0 does.

    For whatever reads or writes the run directory, and for labels that cost money. Arguments are
    not sent: only those of host 0 count. Decorated functions may call each other.
    """

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        if jax.process_count() == 1 or _for_all_hosts.get():
            return function(*args, **kwargs)
        result = HostResult(None, None)
        if is_host0():
            token = _for_all_hosts.set(True)
            try:
                with watch().detail(function.__name__.strip("_")):
                    result = _result_of(lambda: function(*args, **kwargs))
            finally:
                _for_all_hosts.reset(token)
        data = _pickled(result)
        with watch().meeting():
            size = int(multihost_utils.broadcast_one_to_all(np.int64(data.size)))
            sent = [multihost_utils.broadcast_one_to_all(piece) for piece in _pieces(data, size)]
        return _values_of([_unpickled(np.concatenate(sent))], result)[0]

    return call


def on_each_host(do: Callable[[], T], what: str = "its share of the work") -> T:
    """What `do` gives on this host, once all hosts are through.

    Args:
      do: does this host's share. It must not call this module or run a collective.
      what: this is, for hosts that wait for another one.
    """
    if jax.process_count() == 1:
        return do()
    made = _share(do, what)
    _from_all_hosts(made._replace(value=None))
    return made.value


def gather_blocks(do: Callable[[], np.ndarray], what: str = "its share of the work") -> np.ndarray:
    """The arrays that `do` gives on each host, one after the other; arguments as `on_each_host`."""
    if jax.process_count() == 1:
        return do()
    return np.concatenate(_from_all_hosts(_share(do, what)))


def gather_shards(
    n: int, do: Callable[[np.ndarray], Any], what: str = "its share of the work"
) -> Any:
    """A pytree of numpy arrays with n rows each, of which every host makes its own share.

    Args:
      n: rows.
      do: makes the rows of the given numbers, int [rows]. It must not call this module or run a
        collective.
      what: a name for the work, shown on hosts that wait for another one's share.
    """
    if jax.process_count() == 1:
        return do(np.arange(n))
    shares = [np.arange(n)[i :: jax.process_count()] for i in range(jax.process_count())]
    mine = shares[jax.process_index()]
    parts = _from_all_hosts(_share(lambda: do(mine) if mine.size else None, what))
    order = np.argsort(np.concatenate(shares), kind="stable")
    there = [part for part in parts if part is not None]
    return jax.tree.map(lambda *xs: np.concatenate([np.asarray(x) for x in xs])[order], *there)


def iterate_on_host0(items: Iterator[T]) -> Iterator[T]:
    """The items that host 0 iterates over, none of them None. Other hosts never touch theirs."""
    if jax.process_count() == 1:
        yield from items
        return

    @on_host0
    def wait_for_labels() -> T | None:
        return next(items, None)

    while (item := wait_for_labels()) is not None:
        yield item


def raise_if_preempted() -> None:
    """Raises Preempted on all hosts if SIGTERM came to one of them."""
    if any(all_max([float(preemption.sigterm.is_set())])):
        raise Preempted


def all_max(values: list[float]) -> list[float]:
    """The largest value over all hosts, of each of some numbers."""
    if jax.process_count() == 1:
        return values
    with watch().meeting():
        gathered = multihost_utils.process_allgather(np.array(values))
    return np.max(gathered, axis=0).tolist()


def assert_same_on_hosts(what: str, value: str) -> None:
    """Raises a BoostError that names `what` if the hosts' values differ."""
    if jax.process_count() == 1:
        return
    values = _from_all_hosts(HostResult(value, None))
    other = [str(i) for i, value in enumerate(values) if value != values[0]]
    if other:
        raise BoostError(
            f"the hosts differ in their {what}: worker {', '.join(other)} from worker 0. Set up "
            "all of them in the same way (tpu_scripts/setup.sh)"
        )


def _share(do: Callable[[], Any], what: str) -> HostResult:
    with watch().detail(what):
        return _result_of(do)


def _result_of(make: Callable[[], Any]) -> HostResult:
    try:
        return HostResult(make(), None)
    except BaseException as error:  # also a preemption and Ctrl-C
        return HostResult(None, error)


def _from_all_hosts(mine: HostResult) -> list[Any]:
    """Every host's value, or the error of one."""
    data = _pickled(mine)
    with watch().meeting():
        size = int(np.max(multihost_utils.process_allgather(np.int64(data.size))))
        sent = [multihost_utils.process_allgather(piece) for piece in _pieces(data, size)]
    return _values_of([_unpickled(row) for row in np.concatenate(sent, axis=1)], mine)


def _pieces(data: np.ndarray, size: int) -> Iterator[np.ndarray]:
    """The first `size` bytes of a message; beyond its end, bytes without a meaning."""
    return (np.resize(data[i : i + _PIECE], _PIECE) for i in range(0, size, _PIECE))


def _values_of(results: list[HostResult], mine: HostResult) -> list[Any]:
    if mine.error is not None:
        raise mine.error  # with its own traceback
    for result in results:
        if result.error is not None:
            raise result.error
    return [result.value for result in results]


def _pickled(result: HostResult) -> np.ndarray:
    try:
        data = pickle.dumps(result, protocol=pickle.HIGHEST_PROTOCOL)
        if result.error is not None:
            pickle.loads(data)
    except Exception:  # an exception that cannot be pickled
        error = BoostError(f"worker {jax.process_index()} failed: {result.error!r}")
        data = pickle.dumps(HostResult(None, error))
    return np.frombuffer(data, np.uint8)


def _unpickled(data: np.ndarray) -> HostResult:
    return pickle.loads(np.asarray(data).tobytes())
