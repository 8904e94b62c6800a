"""Says which host the others wait for, and which one has gone silent.

In a collective, every host waits for all others, silently and without a time limit, because a
verifier may take long. So every few seconds each host posts how many collectives ("meetings") it
has reached and what it is doing, to the key-value store of JAX's coordinator, which worker 0 keeps.
Nothing here ends a process.
"""

import atexit
import functools
import json
import sys
import threading
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

import jax

from boostlm.errors import BoostError

QUIET_S = 60.0  # seconds that a host waits before it says so,
REPEAT_S = 300.0  # and then until it says so again
SILENT_S = 30.0  # seconds without a post after which a host may be gone
BEAT_S = 5.0  # seconds between posts

_GO_ON = "What was committed is kept: start the same command on all hosts again"


class Board(NamedTuple):
    """Where hosts post; any call may raise.

    Attributes:
      put: replaces the text of a host.
      read: the texts of all hosts.
    """

    put: Callable[[int, str], None]
    read: Callable[[], Mapping[int, str]]


class HostWatch:
    """One host's view of the others. `beat` posts, looks and speaks; a thread calls it."""

    def __init__(
        self,
        me: int,
        count: int,
        board: Board,
        say: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Args: this host's number, the number of hosts, the board, an output and a clock."""
        self._me, self._board, self._say, self._clock = me, board, say, clock
        self._lock = threading.Lock()
        self._doing, self._detail = "", ""
        self._meetings, self._waiting = 0, False
        self._since, self._say_at = clock(), clock() + QUIET_S
        self._posts = 0
        self._texts: dict[int, str] = {}
        self._heard = {host: clock() for host in range(count) if host != me}
        self._gone: list[int] = []

    def at(self, doing: str) -> None:
        """Notes the stage that this host is at."""
        self._doing = doing

    @contextmanager
    def detail(self, what: str) -> Generator[None]:
        """Notes what this host does within the block, which others may wait for."""
        self._detail, before = what, self._detail
        try:
            yield
        finally:
            self._detail = before

    @contextmanager
    def meeting(self) -> Generator[None]:
        """The block is a collective: this host waits in it for all others.

        Raises:
          BoostError: it failed, as it does where CPUs are connected and a host dies.
        """
        self._change(waiting=True)
        try:
            yield
        except (jax.errors.JaxRuntimeError, ValueError) as error:  # of gloo, the latter
            cause = str(error).partition("\n")[0]
            raise BoostError(
                f"worker {self._me} lost another host ({cause}). Which one is said as soon as it "
                f"has been silent for {SILENT_S:.0f} s, and JAX ends this process soon after. "
                f"{_GO_ON}"
            ) from error
        finally:
            self._change(waiting=False)

    def beat(self) -> None:
        """Posts what this host does, and says whom it has waited for and who is silent."""
        now = self._clock()
        with self._lock:
            meetings, waiting, since = self._meetings, self._waiting, self._since
            self._posts += 1
            doing = ": ".join(part for part in (self._doing, self._detail) if part)
        post = json.dumps([self._posts, meetings, doing])
        try:
            self._board.put(self._me, post)
            texts = self._board.read()
        except Exception:  # the board is with worker 0; only that one is known to be silent
            self._heard |= {host: now for host in self._heard if host != 0}
            texts = {}
        for host in self._heard:
            if texts.get(host, "") != self._texts.get(host, ""):
                self._texts[host], self._heard[host] = texts.get(host, ""), now
        self._tell_silent(now)
        if waiting and now >= self._say_at:
            self._say_at = now + REPEAT_S
            late = {host: doing for host, (come, doing) in self._known().items() if come < meetings}
            if late:
                self._say(f"has waited {_clock(now - since)} for {_names(late)}")

    def _change(self, waiting: bool) -> None:
        with self._lock:
            self._waiting, self._meetings = waiting, self._meetings + waiting
            self._since = self._clock()
            self._say_at = self._since + QUIET_S

    def _known(self) -> dict[int, tuple[int, str]]:
        """(meetings, doing) of each other host that is not gone; (0, "") if it has never posted."""
        texts = {host: self._texts.get(host, "") for host in self._heard if host not in self._gone}
        posts = {host: json.loads(text) if text else (0, 0, "") for host, text in texts.items()}
        return {host: (come, doing) for host, (_, come, doing) in posts.items()}

    def _tell_silent(self, now: float) -> None:
        silent = {host: now - heard for host, heard in self._heard.items() if host in self._texts}
        gone = [host for host, seconds in silent.items() if seconds >= SILENT_S]
        new = [host for host in gone if host not in self._gone]
        back = [host for host in self._gone if host not in gone]
        self._gone = gone
        if back:
            self._say(f"hears from worker {', '.join(map(str, back))} again")
        if new:
            self._say(
                f"has had no sign of life from worker {', '.join(map(str, new))} for "
                f"{SILENT_S:.0f} s. If it was killed or taken away, JAX ends this process as well, "
                f"within two minutes and in words of its own. {_GO_ON}"
            )


def _names(late: Mapping[int, str]) -> str:
    parts = [f"worker {host}" + (f" (at {doing})" if doing else "") for host, doing in late.items()]
    return " and ".join(parts)


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d} min"


@functools.cache
def watch() -> HostWatch:
    """This process's watch, which a thread has beat from the first call on.

    For several hosts only, after they have joined (`join_hosts`).
    """
    # JAX has no public name for its coordinator's key-value store, nor for these numbers before
    # the devices are set up, which may wait for other hosts.
    from jax._src.distributed import global_state as joined

    me = joined.process_id
    started = HostWatch(me, joined.num_processes, _board(joined.client), _say_of(me))
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(BEAT_S):
            with suppress(OSError, ValueError):  # no standard error, as where a terminal has gone
                started.beat()

    def leave() -> None:
        """Leaves JAX's coordinator while the thread speaks: that waits for all hosts, too."""
        jax.distributed.shutdown()
        ended.set()
        thread.join(timeout=2 * BEAT_S)

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    atexit.register(leave)
    return started


def _say_of(me: int) -> Callable[[str], None]:
    return lambda text: print(f"boostlm: worker {me} {text}", file=sys.stderr, flush=True)


def _board(client: Any) -> Board:
    folder = "boostlm/hosts/"

    def put(host: int, text: str) -> None:
        client.key_value_set(f"{folder}{host}", text, allow_overwrite=True)

    def read() -> dict[int, str]:
        found = client.key_value_dir_get(folder)
        return {int(key.rpartition("/")[2]): text for key, text in found}

    return Board(put, read)
