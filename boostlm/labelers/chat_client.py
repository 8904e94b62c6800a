"""A client of a server that speaks the OpenAI chat-completions protocol.

`ask` retries temporary failures. It returns a label or a refusal of the prompt, or raises an error
that stops the run.
"""

import http.client
import io
import json
import random
import socket
import ssl
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from boostlm.config import EndpointConfig
from boostlm.errors import BoostError
from boostlm.labelers.base import Label
from boostlm.labelers.completion import (
    Blame,
    Completion,
    Fault,
    cut,
    fault_of_status,
    read_completion,
    retry_after,
    server_message,
)

# Waits some seconds, or until the event is set; returns whether it is set.
Pause = Callable[[threading.Event, float], bool]

TRIES = 6  # attempts per request
_FIRST_WAIT, _LONGEST_WAIT = 1.0, 60.0  # seconds before a retry; doubled each time
_LONGEST_ASKED_WAIT = 600.0  # seconds; if Retry-After is longer, the run stops
_MOST_BYTES = 16 * 2**20  # bytes of a response

# Failures to connect that, at the first request, point to a wrong address or a stopped server.
_WRONG_ADDRESS = (ConnectionRefusedError, socket.gaierror, http.client.InvalidURL, ValueError)


class Refusal(NamedTuple):
    """The server refuses this prompt, or so it seems until it has answered another one.

    Attributes:
      label: unanswered, with the reason and what the tries cost.
      said: the same in a sentence.
    """

    label: Label
    said: str


class _Response(NamedTuple):
    """An HTTP response, read to its end."""

    status: int
    reason: str
    headers: Mapping[str, str]
    body: bytes


class ChatClient:
    """A client of the server. Any thread can call it."""

    def __init__(self, settings: EndpointConfig, key: str, cost: float, pause: Pause) -> None:
        """Takes the settings, the key or "", the cost of a label if tokens have no price."""
        self._settings, self._key, self._cost, self._pause = settings, key, cost, pause
        self._url = settings.url.rstrip("/") + "/chat/completions"
        self._fields = {"model": settings.model} | json.loads(settings.request)
        self._open = urllib.request.build_opener(_NoRedirect, _Http, _Https).open
        self._reached = False  # whether there was any response,
        self._answered = False  # and any completion, to a request of this process

    def ask(self, prompt: str, stopping: threading.Event) -> Label | Refusal:
        """The server's answer to a prompt.

        Args:
          prompt: the text of the only message.
          stopping: if set, a failed request is not tried again.

        Raises:
          BoostError: the server cannot be reached, keeps failing, asks for a long wait, or refuses
            something that does not depend on the prompt.
        """
        cost = 0.0  # of failed attempts: servers count their tokens, too
        for tried in range(1, TRIES + 1):
            got = self._post(prompt)
            if isinstance(got, Completion):
                unanswered = got.unanswered
                return Label(got.text, "endpoint", cost + self._cost_of(got), unanswered)
            cost += self._priced(got.usage) or 0.0
            if got.blame is Blame.SETTINGS:
                raise BoostError(f"{self._url} {got.said}")
            if got.blame is Blame.PROMPT or (got.blame is Blame.REPLY and tried == TRIES):
                times = f", {tried} times in a row" if tried > 1 else ""
                label = Label("", "endpoint", cost, got.said)
                return Refusal(label, f"{self._url} {got.said}{times}")
            if (got.wait or 0.0) > _LONGEST_ASKED_WAIT:
                raise BoostError(
                    f"{self._url} {got.said}, and asks to wait {got.wait:.0f} s: run the same "
                    "command again after that"
                )
            if tried == TRIES or self._pause(stopping, _wait_before(tried + 1, got.wait)):
                raise BoostError(
                    f"{self._url} {got.said}, {tried} times in a row: run the same command again "
                    "when the server works"
                )
        raise AssertionError("unreachable")

    def _post(self, prompt: str) -> Completion | Fault:
        """What one request gets."""
        try:
            response = self._send(prompt)
        except (OSError, http.client.HTTPException, ValueError) as error:
            return self._unreached(error)
        status = response.status
        if 200 <= status < 300:
            got = read_completion(response.body, self._answered, self._message)
            if isinstance(got, Completion):
                self._answered = True
                return got
            said = f"answered with {got.said}"
        else:
            got = fault_of_status(status, response.body, self._message)
            said = f"answered {status} {self._message(response.reason)}: {got.said}"
        if got.blame is Blame.SETTINGS:
            said += self._remedy(status, response.headers)
        wait = retry_after(response.headers.get("Retry-After"), time.time())
        return Fault(got.blame, said, got.usage, wait)

    def _send(self, prompt: str) -> _Response:
        """Sends one request and reads what comes back, whatever its status."""
        fields = {**self._fields, "messages": [{"role": "user", "content": prompt}]}
        headers = {"Content-Type": "application/json", "User-Agent": "boostlm"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        request = urllib.request.Request(self._url, json.dumps(fields).encode(), headers)
        response: Any
        try:
            response = self._open(request, timeout=self._settings.timeout)
        except urllib.error.HTTPError as error:
            response = error
        self._reached = True
        with response:
            body = _read(response)
            return _Response(response.status, str(response.reason), response.headers, body)

    def _remedy(self, status: int, headers: Mapping[str, str]) -> str:
        """What to do about a response that every prompt will get."""
        if 300 <= status < 400:
            to = self._message(headers.get("Location") or "another address")
            return f": it redirects to {to}; set label.endpoint.url to where the server is"
        if status in (401, 402, 403) and self._settings.api_key_env:
            return f" (the key is taken from {self._settings.api_key_env})"
        return ": check label.endpoint.url, which often ends in /v1, and label.endpoint.model"

    def _unreached(self, error: Exception) -> Fault:
        """The fault of a request that got no response, or half of one."""
        reason = getattr(error, "reason", error)  # URLError holds the real one
        if isinstance(error, _TooLarge):
            return Fault(Blame.REPLY, f"answered with more than {_MOST_BYTES >> 20} MiB")
        if isinstance(reason, TimeoutError):
            seconds = f"{self._settings.timeout:g} s (label.endpoint.timeout)"
            return Fault(Blame.SERVER, f"did not answer within {seconds}")
        said = f"cannot be reached ({self._message(str(reason) or type(reason).__name__)})"
        wrong = isinstance(reason, _WRONG_ADDRESS) and not self._reached
        if wrong or isinstance(reason, ssl.SSLCertVerificationError):
            check = ": check label.endpoint.url and that the server is running"
            return Fault(Blame.SETTINGS, said + check)
        return Fault(Blame.SERVER, said)

    def _message(self, answer: Any) -> str:
        """`server_message`, with the key masked."""
        text = server_message(answer)
        return cut(text.replace(self._key, "***") if self._key else text)

    def _priced(self, usage: tuple[int, int] | None) -> float | None:
        """The cost of some tokens; None if they have no price or were not counted."""
        prices = self._settings.prompt_price, self._settings.response_price
        if usage is None or prices == (0, 0):
            return None
        return sum(n * price for n, price in zip(usage, prices, strict=True)) / 1e6

    def _cost_of(self, got: Completion) -> float:
        """The cost of a completion; without an answer, no more than the server counted."""
        if not (self._settings.prompt_price or self._settings.response_price):
            return self._cost
        cost = self._priced(got.usage)
        if cost is None and not got.unanswered:
            raise BoostError(
                f"{self._url} does not report its token counts (usage), so prices cannot be used: "
                "set label.endpoint.prompt_price and response_price to 0, and each label costs "
                "label.cost"
            )
        return cost or 0.0


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Treats a redirect as an error: following it could send the key to another server."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


class _Bounded(http.client.HTTPResponse):
    """A response whose headers and body have to arrive within the socket's timeout, all together.

    A socket applies its timeout to each read, and a server that trickles could take forever.
    """

    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp = io.BufferedReader(_UntilDeadline(sock))


class _UntilDeadline(io.RawIOBase):
    """Reads from a socket until its timeout has passed since this object was made."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock, self._raw = sock, sock.makefile("rb", buffering=0)
        self._deadline = time.monotonic() + (sock.gettimeout() or 0.0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._sock.settimeout(left)
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Http(urllib.request.HTTPHandler):
    """Reads responses as `_Bounded`."""

    class _Connection(http.client.HTTPConnection):
        response_class = _Bounded

    def http_open(self, req: urllib.request.Request) -> Any:
        return self.do_open(self._Connection, req)


class _Https(urllib.request.HTTPSHandler):
    """Reads responses as `_Bounded`."""

    class _Connection(http.client.HTTPSConnection):
        response_class = _Bounded

    def https_open(self, req: urllib.request.Request) -> Any:
        return self.do_open(self._Connection, req)


class _TooLarge(ValueError):
    """A body of more than _MOST_BYTES."""


def _wait_before(attempt: int, asked: float | None) -> float:
    """Seconds to wait before the second attempt, the third, ...; never less than asked."""
    own = min(_FIRST_WAIT * 2 ** (attempt - 2), _LONGEST_WAIT) * random.uniform(0.8, 1.2)
    return max(own, asked or 0.0)


def _read(response: Any) -> bytes:
    """Reads the whole body in bounded memory."""
    parts, size = [], 0
    while part := response.read1(65536):
        parts.append(part)
        size += len(part)
        if size > _MOST_BYTES:
            raise _TooLarge
    if getattr(response, "length", None):  # bytes of Content-Length that did not arrive
        raise http.client.IncompleteRead(b"", response.length)
    return b"".join(parts)
