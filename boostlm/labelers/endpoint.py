"""A labeler that calls a server with the OpenAI chat-completions protocol.

Each label is yielded, and so committed, when it arrives. A killed run can lose, and pay twice for,
the labels of the pending requests: at most `label.endpoint.concurrency`. The same holds for a
request that times out here while the server still works on it. No other label is lost: before an
error is raised, the pending requests finish and their labels are yielded.

A refused prompt (content filter, too long) becomes an unanswered label if other prompts are
answered. If none is, a plain question tells whether the prompts are at fault or what is sent with
each of them.
"""

import os
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from boostlm.config import Config, EndpointConfig
from boostlm.errors import BoostError
from boostlm.labelers.base import Label, Labeler, Query
from boostlm.labelers.chat_client import ChatClient, Pause, Refusal

REFUSALS = 8  # different prompts, refused with no answer in between, that call for the question
QUESTION = "What is 1 + 1?"  # nothing in it can be refused


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


def endpoint_labeler(
    config: Config, spent: Callable[[], float], pause: Pause = threading.Event.wait
) -> Labeler:
    """A labeler that sends concurrent requests to the server of `config.label.endpoint`.

    With `max_cost`, a request is sent only if it stays below the cap at the price of the most
    expensive label so far. The cap is therefore exceeded by less than the cost of the pending
    labels.

    Args:
      config: the settings.
      spent: returns the cost of the run's labels so far.
      pause: waits before a retry.

    Raises:
      BoostError: (the labeler) the server cannot be reached, lasts in failing or refuses all that
        it is asked; or the cost cap is reached.
    """
    settings = config.label.endpoint
    client = ChatClient(settings, read_key(settings), config.label.cost, pause)

    def label(queries: Sequence[Query]) -> Iterator[list[tuple[Query, Label]]]:
        asking = _Asking(config, client, spent(), queries)
        try:
            yield from asking.batches()
        finally:
            asking.stopping.set()

    return label


class _Asking:
    """The requests for the queries of one round.

    Attributes:
      stopping: if set, failed requests are not tried again.
    """

    def __init__(
        self, config: Config, client: ChatClient, total: float, queries: Sequence[Query]
    ) -> None:
        """Takes the cost of the run's labels so far as `total`."""
        self._settings, self._client, self._total = config.label.endpoint, client, total
        self._waiting = deque(queries)
        self._arrived: queue.SimpleQueue[tuple[Query, Label | Refusal | BaseException]] = (
            queue.SimpleQueue()
        )
        self._under_way = 0
        self._failure: BaseException | None = None
        self._answered = False
        self._held: list[tuple[Query, Refusal]] = []  # refused since the last answer
        priced = self._settings.prompt_price > 0 or self._settings.response_price > 0
        self._dearest = None if priced else config.label.cost
        self.stopping = threading.Event()

    def batches(self) -> Iterator[list[tuple[Query, Label]]]:
        """The labels as they arrive; raises BoostError if some cannot be obtained."""
        while True:
            while self._may_send():
                # A daemon thread, so that Ctrl-C does not wait for a slow server.
                query = self._waiting.popleft()
                threading.Thread(target=self._ask, args=(query,), daemon=True).start()
                self._under_way += 1
            if self._under_way:
                yield from self._next_label()
            elif self._failure:
                raise self._failure
            elif self._held:
                yield self._let_go(self._prove_prompts_at_fault())
            else:
                break
        if self._waiting:
            raise self._cap_is_reached()

    def _may_send(self) -> bool:
        if self._failure or self._suspects() >= REFUSALS:
            return False
        free = self._under_way < self._settings.concurrency
        return bool(self._waiting) and free and self._can_pay()

    def _can_pay(self) -> bool:
        """Whether another request stays below the cap on cost."""
        cap = self._settings.max_cost
        if not cap:
            return True
        if self._dearest is None:  # the cost of a label is unknown until the first one arrives
            return self._under_way == 0 and self._total < cap
        return self._total + (self._under_way + 1) * self._dearest <= cap * (1 + 1e-9)

    def _ask(self, query: Query) -> None:
        try:
            self._arrived.put((query, self._client.ask(query.text, self.stopping)))
        except BaseException as error:
            self._arrived.put((query, error))

    def _next_label(self) -> Iterator[list[tuple[Query, Label]]]:
        """Waits for a pending request. Its label, and those that it shows to be refused."""
        query, given = self._arrived.get()
        self._under_way -= 1
        if isinstance(given, BaseException):
            self._failure = self._failure or given
            self.stopping.set()
        elif isinstance(given, Refusal):
            self._total += given.label.cost
            self._held.append((query, given))
        else:
            self._is_answered(given)
            yield [(query, given), *self._let_go(0.0)]

    def _is_answered(self, label: Label) -> None:
        self._answered = True
        self._total += label.cost
        if label.cost:
            self._dearest = max(self._dearest or 0.0, label.cost)

    def _suspects(self) -> int:
        """How many different prompts were refused since the last answer."""
        return len({query.prompt for query, _ in self._held})

    def _let_go(self, cost: float) -> list[tuple[Query, Label]]:
        """The labels of the refused prompts; the last one also bears `cost`."""
        labels = [(query, refusal.label) for query, refusal in self._held]
        if labels and cost:
            query, label = labels[-1]
            labels[-1] = query, replace(label, cost=label.cost + cost)
        self._held = []
        return labels

    def _prove_prompts_at_fault(self) -> float:
        """Asks the plain question if need be; returns its cost.

        Raises:
          BoostError: the question is refused, too, or cannot be paid.
        """
        if self._answered and self._suspects() < REFUSALS:
            return 0.0
        if not self._can_pay():
            raise self._cap_is_reached()
        given = self._client.ask(QUESTION, self.stopping)
        if isinstance(given, Label):
            self._is_answered(given)
            return given.cost
        raise BoostError(
            f"{self._held[0][1].said}. The last {self._suspects()} prompts were refused, and so "
            f"was the question {QUESTION!r}: what is sent with every prompt is at fault, and none "
            "of them was recorded. If a field is refused, say what to send with "
            f"--label.endpoint.request (now {self._settings.request}). Otherwise check "
            "label.endpoint.model and the key. Then run the same command again"
        )

    def _cap_is_reached(self) -> BoostError:
        missing = len(self._waiting) + len(self._held)
        return BoostError(
            f"label.endpoint.max_cost {self._settings.max_cost:g} is reached: the run's labels "
            f"cost {self._total:g} so far and are kept. This round needs {missing} more. To "
            "continue, run the same command with a higher --label.endpoint.max_cost"
        )
