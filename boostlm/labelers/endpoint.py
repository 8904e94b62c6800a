"""A labeler that calls a server with the OpenAI chat-completions protocol.

Each label is yielded, and so committed, when it arrives. A killed run can lose, and pay twice for,
the labels of the pending requests: at most `label.endpoint.concurrency`. The same holds for a
request that times out here while the server still works on it. No other label is lost: before an
error is raised, the pending requests finish and their labels are yielded.
"""

import email.utils
import http.client
import json
import os
import queue
import random
import threading
import time
import urllib.error
import urllib.request
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from boostlm.config import Config, EndpointConfig
from boostlm.errors import BoostError
from boostlm.labelers.base import Label, Labeler, Query

_TRIES = 6  # attempts per request
_FIRST_WAIT, _LONGEST_WAIT = 1.0, 60.0  # seconds before a retry; doubled each time
_LONGEST_ASKED_WAIT = 600.0  # seconds; if Retry-After is longer, the run stops
_MOST_BYTES = 16 * 2**20  # bytes of a response
_COUNTED = ("prompt_tokens", "completion_tokens")  # fields of "usage" in a response


def read_key(config: EndpointConfig) -> str:
    """The API key, or "" if none is sent.

    Raises:
      BoostError: the environment variable is not set, or its key cannot be used.
    """
    if not config.api_key_env:
        return ""
    key = os.environ.get(config.api_key_env, "").strip()
    if not key:
        raise BoostError(
            f"the environment variable {config.api_key_env} is not set: set it to the key for "
            f"{config.url} (if the server needs none: --label.endpoint.api_key_env '')"
        )
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise BoostError(
            f"the environment variable {config.api_key_env} does not contain a valid key"
        )
    return key


def endpoint_labeler(config: Config, spent: Callable[[], float]) -> Labeler:
    """A labeler that sends concurrent requests to the server of `config.label.endpoint`.

    With `max_cost`, a request is sent only if it stays below the cap at the price of the most
    expensive label so far. The cap is therefore exceeded by less than the cost of the pending
    labels.

    Args:
      config: the settings.
      spent: returns the cost of the run's labels so far.

    Raises:
      BoostError: (the labeler) the server cannot be reached, returns an error, or does not return
        a chat completion; or the cost cap is reached.
    """
    settings, key = config.label.endpoint, read_key(config.label.endpoint)

    def label(queries: Sequence[Query]) -> Iterator[list[tuple[Query, Label]]]:
        server = _Server(config, key)
        waiting = deque(queries)
        arrived: queue.SimpleQueue[tuple[Query, Label | BaseException]] = queue.SimpleQueue()
        total, under_way, failure = spent(), 0, None
        counted = settings.prompt_price > 0 or settings.response_price > 0
        dearest = None if counted else config.label.cost

        def may_send() -> bool:
            if failure or not waiting or under_way >= settings.concurrency:
                return False
            if not settings.max_cost:
                return True
            if dearest is None:  # the cost of a label is unknown until the first one arrives
                return under_way == 0 and total < settings.max_cost
            return total + (under_way + 1) * dearest <= settings.max_cost * (1 + 1e-9)

        def ask(query: Query) -> None:
            try:
                arrived.put((query, server.label(query)))
            except BaseException as error:
                arrived.put((query, error))

        try:
            while True:
                while may_send():
                    # A daemon thread, so that Ctrl-C does not wait for a slow server.
                    threading.Thread(target=ask, args=(waiting.popleft(),), daemon=True).start()
                    under_way += 1
                if not under_way:
                    break
                query, given = arrived.get()
                under_way -= 1
                if isinstance(given, Label):
                    total += given.cost
                    dearest = max(dearest or 0.0, given.cost)
                    yield [(query, given)]
                else:
                    failure = failure or given
                    server.stopping.set()
        finally:
            server.stopping.set()
        if failure:
            raise failure
        if waiting:
            raise BoostError(
                f"label.endpoint.max_cost {settings.max_cost:g} is reached: the run's labels cost "
                f"{total:g} so far and are kept. This round needs {len(waiting)} more. To "
                "continue, run the same command with a higher --label.endpoint.max_cost"
            )

    return label


class _TryAgain(Exception):
    """A transient error, with the server's Retry-After in seconds if it sent one."""

    def __init__(self, message: str, wait: float | None = None) -> None:
        super().__init__(message)
        self.wait = wait


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Treats a redirect as an error: following it could send the key to another server."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


class _Server:
    """A client of the server. Any thread can call it."""

    def __init__(self, config: Config, key: str) -> None:
        self._config = config
        self._settings = config.label.endpoint
        self._url = self._settings.url.rstrip("/") + "/chat/completions"
        self._key = key
        self._open = urllib.request.build_opener(_NoRedirect).open
        self._answered = False  # whether the server has answered any request of this process
        self.stopping = threading.Event()  # if set, requests are not retried

    def label(self, query: Query) -> Label:
        """Requests a label. Transient errors are retried; see `_TRIES`."""
        for tried in range(1, _TRIES + 1):
            try:
                return self._label_from(self._post(query))
            except _TryAgain as problem:
                if tried == _TRIES:
                    raise BoostError(f"{problem}, {_TRIES} times in a row") from None
                if problem.wait is not None and problem.wait > _LONGEST_ASKED_WAIT:
                    raise BoostError(
                        f"{problem}, and asks to wait {problem.wait:.0f} s: run again after that"
                    ) from None
                wait = min(_FIRST_WAIT * 2 ** (tried - 1), _LONGEST_WAIT) * random.uniform(0.8, 1.2)
                if self.stopping.wait(wait if problem.wait is None else problem.wait):
                    raise BoostError(f"{problem}") from None
        raise AssertionError("unreachable")

    def _post(self, query: Query) -> bytes:
        """The response's body. Raises _TryAgain for transient errors, BoostError for others."""
        sample = self._config.sample
        body = {
            "model": self._settings.model,
            "messages": [{"role": "user", "content": query.text}],
            "max_tokens": sample.max_new_tokens,
            "temperature": sample.temperature,
            "top_p": sample.top_p,
        }
        headers = {"Content-Type": "application/json", "User-Agent": "boostlm"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        request = urllib.request.Request(self._url, json.dumps(body).encode(), headers)
        deadline = time.monotonic() + self._settings.timeout
        try:
            with self._open(request, timeout=self._settings.timeout) as response:
                self._answered = True
                return _read(response, deadline)
        except urllib.error.HTTPError as error:
            self._answered = True
            raise self._refusal(error) from None
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", error)
            if isinstance(reason, TimeoutError):
                seconds = self._settings.timeout
                raise _TryAgain(f"{self._url} did not answer within {seconds:g} s") from None
            said = f"{self._url} cannot be reached ({reason or type(error).__name__})"
            if not self._answered:
                raise BoostError(
                    f"{said}: check label.endpoint.url and that the server is running"
                ) from None
            raise _TryAgain(said) from None

    def _refusal(self, error: urllib.error.HTTPError) -> Exception:
        """The exception for a status other than 200."""
        with error:
            try:
                body = error.read(65536)
            except (OSError, http.client.HTTPException):
                body = b""
        said = f"{self._url} answered {error.code} {error.reason}: {self._message(body)}"
        if error.code in (408, 429) or error.code >= 500:
            return _TryAgain(said, _retry_after(error.headers.get("Retry-After")))
        if error.code in (401, 403) and self._settings.api_key_env:
            said += f" (the key is taken from {self._settings.api_key_env})"
        return BoostError(said)

    def _message(self, body: bytes) -> str:
        """The server's error message in one line, with the key masked."""
        text = body.decode(errors="replace")
        try:
            error = json.loads(text)["error"]
            text = error["message"] if isinstance(error, dict) else str(error)
        except (ValueError, KeyError, TypeError):
            pass
        text = " ".join(str(text).split())
        if self._key:
            text = text.replace(self._key, "***")
        return text[:300] or "empty response"

    def _label_from(self, body: bytes) -> Label:
        """The first choice of a chat completion."""
        try:
            answer = json.loads(body)
            choice = answer["choices"][0]
            text = choice["message"].get("content") or ""  # a refusal may have no content
            if not isinstance(text, str):
                raise TypeError
            text.encode()  # a lone surrogate could not be written to the ledger
        except (ValueError, KeyError, IndexError, TypeError, AttributeError):
            raise BoostError(
                f"{self._url} did not return a chat completion: {self._message(body)}"
            ) from None
        cost = self._cost(answer.get("usage"))
        return Label(text, "endpoint", cost, choice.get("finish_reason") != "length")

    def _cost(self, usage: Any) -> float:
        prices = self._settings.prompt_price, self._settings.response_price
        if prices == (0, 0):
            return self._config.label.cost
        counts: list[Any] = [usage.get(k) if isinstance(usage, dict) else None for k in _COUNTED]
        if not all(type(n) is int and n >= 0 for n in counts):
            raise BoostError(
                f"{self._url} does not report its token counts (usage), so prices cannot be used: "
                "set label.endpoint.prompt_price and response_price to 0, and each label costs "
                "label.cost"
            )
        return sum(n * price for n, price in zip(counts, prices, strict=True)) / 1e6


def _read(response: http.client.HTTPResponse, deadline: float) -> bytes:
    """Reads the whole body in bounded time and memory."""
    parts, size = [], 0
    while part := response.read1(65536):
        parts.append(part)
        size += len(part)
        if size > _MOST_BYTES:
            raise BoostError(f"the server's response is larger than {_MOST_BYTES >> 20} MiB")
        if time.monotonic() > deadline:
            raise TimeoutError
    if response.length:  # bytes of Content-Length that did not arrive
        raise http.client.IncompleteRead(b"", response.length)
    return b"".join(parts)


def _retry_after(value: str | None) -> float | None:
    """The seconds to wait from a Retry-After header, which is a number or a date."""
    if value is None:
        return None
    try:
        return max(0.0, float(value))
    except (TypeError, ValueError):
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except (TypeError, ValueError):
        return None
