"""Makes honest programs work that a bare, confined interpreter would refuse.

It runs once, in the forking process. It serves programs that mean well: one that changes anything
here changes its own process only.
"""

import _thread
import io
import os
import site
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

_STACK_BYTES = 2 * 1024 * 1024  # of a thread; the system's 8 MiB would use up the address space


def mend_interpreter() -> None:
    """Adds the builtins of `site` (exit, quit, help, ...), and makes threads and asyncio work."""
    site.setquit()
    site.setcopyright()
    site.sethelper()
    _thread.stack_size(_STACK_BYTES)
    sys.meta_path.insert(0, _Mender())


class _PipeEnd(io.FileIO):
    """One end of a pipe, with what asyncio uses of a socket."""

    recv, send = io.FileIO.read, io.FileIO.write

    def setblocking(self, flag: bool) -> None:
        os.set_blocking(self.fileno(), flag)


def _mend_asyncio(module: ModuleType) -> None:
    """Lets an event loop wake itself through a pipe: a check has no sockets, not even a pair."""

    def make_self_pipe(loop: Any) -> None:
        inside, outside = os.pipe()
        loop._ssock, loop._csock = _PipeEnd(inside, "rb"), _PipeEnd(outside, "wb")
        loop._ssock.setblocking(False)
        loop._csock.setblocking(False)
        loop._internal_fds += 1
        loop._add_reader(inside, loop._read_from_self)

    module.BaseSelectorEventLoop._make_self_pipe = make_self_pipe  # pyrefly: ignore[missing-attribute]


def _mend_pools(module: ModuleType) -> None:
    """Gives a pool of threads a lock of threads: one that processes share needs /dev/shm."""
    module.BaseContext.Lock = lambda self: _thread.allocate_lock()  # pyrefly: ignore[missing-attribute]


_MENDS: dict[str, Callable[[ModuleType], None]] = {
    "asyncio.selector_events": _mend_asyncio,
    "multiprocessing.context": _mend_pools,
}


class _Mender:
    """Mends these modules when they are imported: most programs import none of them."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        mend = _MENDS.get(name)
        spec = PathFinder.find_spec(name, path, target) if mend else None
        if spec is None or spec.loader is None or mend is None:
            return None
        execute = spec.loader.exec_module

        def execute_and_mend(module: ModuleType) -> None:
            execute(module)
            mend(module)

        spec.loader.exec_module = execute_and_mend  # pyrefly: ignore[missing-attribute]
        return spec
