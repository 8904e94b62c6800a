"""A labeler behind a server that speaks the OpenAI chat-completions protocol.

Labels are given out, and so committed, as they arrive. A run that is killed can lose, and pay for
twice, the labels of the requests that were under way, at most `label.endpoint.concurrency`; so can
a request that times out here while the server still works on it. Nothing else is lost: an error
waits for the requests under way, and gives their labels out, before it is raised.
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

_TRIES = 6  # of one request
_FIRST_WAIT, _LONGEST_WAIT = 1.0, 60.0  # seconds before trying again; doubled each time
_LONGEST_ASKED_WAIT = 600.0  # seconds that a server may ask for; above that the run stops
_MOST_BYTES = 16 * 2**20  # of a response
_COUNTED = ("prompt_tokens", "completion_tokens")  # in what a server says of usage


def read_key(config: EndpointConfig) -> str:
    """The key, or "" where none is sent. A variable that is not set is a BoostError."""
    if not config.api_key_env:
        return ""
    key = os.environ.get(config.api_key_env, "").strip()
    if not key:
        raise BoostError(
            f"the environment variable {config.api_key_env} is not set: it must hold the key for "
            f"{config.url} (for a server that needs none: --label.endpoint.api_key_env '')"
        )
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise BoostError(f"the environment variable {config.api_key_env} holds no usable key")
    return key


def endpoint_labeler(config: Config, spent: Callable[[], float]) -> Labeler:
    """Asks the server of `config.label.endpoint`, many requests at once.

    With `max_cost`, no request is sent that could exceed it if it costs as much as the dearest
    label so far; so it is exceeded by less than the labels under way cost.

    Args:
      config: the settings.
      spent: what the run's labels have cost so far.

    Raises:
      BoostError: (the labeler) the server cannot be reached, refuses, or says what is no chat
        completion; the cost cap is reached.
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
            if dearest is None:  # until the first label comes, nobody knows what one costs
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
                    # A daemon: Ctrl-C need not wait for a slow server.
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
                f"{total:g} so far and are kept; this round wants {len(waiting)} more. The same "
                "command with a higher --label.endpoint.max_cost goes on"
            )

    return label


class _TryAgain(Exception):
    """What went wrong, and how many seconds the server wants to be left alone, if it said."""

    def __init__(self, message: str, wait: float | None = None) -> None:
        super().__init__(message)
        self.wait = wait


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Treats a redirect as an error: following it could hand the key to another server."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


class _Server:
    """One request at a time, from any thread."""

    def __init__(self, config: Config, key: str) -> None:
        self._config = config
        self._settings = config.label.endpoint
        self._url = self._settings.url.rstrip("/") + "/chat/completions"
        self._key = key
        self._open = urllib.request.build_opener(_NoRedirect).open
        self._answered = False  # anything, in this process
        self.stopping = threading.Event()  # nothing is tried again

    def label(self, query: Query) -> Label:
        """Asks until there is a label; see `_TRIES`."""
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
        """The response's body; _TryAgain for what may pass, BoostError for what will not."""
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
                    f"{said}: is label.endpoint.url right, and the server up?"
                ) from None
            raise _TryAgain(said) from None

    def _refusal(self, error: urllib.error.HTTPError) -> Exception:
        """What a status other than 200 comes to."""
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
        """The server's own words, in a line, without the key should they repeat it."""
        text = body.decode(errors="replace")
        try:
            error = json.loads(text)["error"]
            text = error["message"] if isinstance(error, dict) else str(error)
        except (ValueError, KeyError, TypeError):
            pass
        text = " ".join(str(text).split())
        if self._key:
            text = text.replace(self._key, "***")
        return text[:300] or "nothing more"

    def _label_from(self, body: bytes) -> Label:
        """The first choice of a chat completion."""
        try:
            answer = json.loads(body)
            choice = answer["choices"][0]
            text = choice["message"].get("content") or ""  # a refusal may have no content
            if not isinstance(text, str):
                raise TypeError
            text.encode()  # half a surrogate pair could not be written to the ledger
        except (ValueError, KeyError, IndexError, TypeError, AttributeError):
            raise BoostError(
                f"{self._url} answered what is no chat completion: {self._message(body)}"
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
                f"{self._url} does not say how many tokens it took (usage), so prices cannot be "
                "used: set label.endpoint.prompt_price and response_price to 0, and each label "
                "costs label.cost"
            )
        return sum(n * price for n, price in zip(counts, prices, strict=True)) / 1e6


def _read(response: http.client.HTTPResponse, deadline: float) -> bytes:
    """All of a body, in bounded time and memory."""
    parts, size = [], 0
    while part := response.read1(65536):
        parts.append(part)
        size += len(part)
        if size > _MOST_BYTES:
            raise BoostError(f"a response of more than {_MOST_BYTES >> 20} MiB is no label")
        if time.monotonic() > deadline:
            raise TimeoutError
    if response.length:  # bytes that were announced and did not come
        raise http.client.IncompleteRead(b"", response.length)
    return b"".join(parts)


def _retry_after(value: str | None) -> float | None:
    """Seconds of a Retry-After header, which holds seconds or a date."""
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
