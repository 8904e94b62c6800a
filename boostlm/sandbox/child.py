"""Runs one candidate and writes the values of its calls. It runs only inside the sandbox.

Nothing here is trusted: the candidate shares the process and may change any part of it. Verdicts
are still safe, because only the host has the expected values and compares them.
"""

import builtins
import json
import os
import sys
import types
from json.encoder import encode_basestring_ascii as _quote

from boostlm.sandbox.values import NotPlain, encode

_ROOM = 1024  # bytes reserved for the status and the detail
_MEMORY = b'["memory","out of memory"]'
_compile, _exec, _eval, _len = compile, exec, eval, len
_write, _exit = os.write, os._exit


def run(job: bytes, result_fd: int, max_output_bytes: int) -> None:
    """Executes an encoded job, writes [status, detail, value...] to `result_fd`, and exits."""
    payload = _execute(job, max(max_output_bytes - _ROOM, 0))
    while payload:
        payload = payload[_write(result_fd, payload) :]
    _exit(0)  # skips exit handlers and destructors


def _execute(job: bytes, room: int) -> bytes:
    code, setup, calls = json.loads(job)
    module = types.ModuleType("candidate")  # some library code looks up a class's module by name
    module.__dict__["__builtins__"] = builtins
    sys.modules["candidate"] = module
    namespace = module.__dict__
    values = []
    try:
        for text in (code.removeprefix("\ufeff"), setup):  # a file may begin with this mark, too
            _exec(_compile(text, "<candidate>", "exec", dont_inherit=True), namespace)
        for call in calls:
            value = _eval(_compile(call, "<call>", "eval", dont_inherit=True), namespace)
            values.append(encode(value, room))
            room -= _len(values[-1])
    except MemoryError:
        return _MEMORY  # a constant, because there may be no memory to build a reply
    except NotPlain as e:
        return _failure("bad_output", f"call {_len(values) + 1}: {e}")
    except BaseException as e:
        return _failure("error", _describe(e))
    return b",".join([b'["ok",""', *values]) + b"]"


def _failure(status: str, detail: str) -> bytes:
    return f'["{status}",{_quote(detail)}]'.encode()


def _describe(error: BaseException) -> str:
    try:
        return f"{type(error).__name__}: {error}"[:120]
    except BaseException:
        return "an exception that cannot be shown"
