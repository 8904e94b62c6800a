"""The endpoint labeler: concurrency, retries, the key, and the cost cap."""

import json
import socket
import threading
import time
from dataclasses import replace

import pytest
from support.asking import ask, config_for, echo, prompt_of
from support.chat_server import KEY, completion, failure, serving

from boostlm.config import Config
from boostlm.config_io import override
from boostlm.errors import BoostError
from boostlm.labelers.base import CUT_OFF
from boostlm.labelers.endpoint import read_key


@pytest.fixture(autouse=True)
def surroundings(monkeypatch):
    """A key, and no proxy."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def test_every_query_is_asked_once_and_gets_its_own_answer():
    with serving(echo) as server:
        labels, error = ask(server, 20)
    assert error is None
    assert {n: label.text for n, label in labels.items()} == {n: f"PROMPT {n}" for n in range(20)}
    assert {(x.source, x.cost, x.unanswered) for x in labels.values()} == {("endpoint", 1.0, "")}
    assert len(server.asked) == 20
    assert set(server.keys) == {f"Bearer {KEY}"}
    assert set(server.paths) == {"/v1/chat/completions"}


def test_requests_are_concurrent_up_to_the_limit():
    together = threading.Barrier(4)

    def reply(number, body):
        if number < 4:
            together.wait(timeout=10)  # fails unless four requests are concurrent
        time.sleep(0.01)
        return echo(number, body)

    with serving(reply) as server:
        labels, error = ask(server, 16)
    assert (error, len(labels), server.most) == (None, 16, 4)


def test_waits_grow_and_retry_after_is_honoured():
    troubles = [failure(500), failure(500), failure(429, Retry_After="40"), failure(500)]
    waits = []
    with serving(lambda n, body: troubles[n] if n < 4 else echo(n, body)) as server:
        assert ask(server, 1, waits=waits)[1] is None
    assert 0.8 <= waits[0] <= 1.2 < 1.6 <= waits[1] <= 2.4
    assert waits[2] == 40
    assert 6.4 <= waits[3] <= 9.6


def test_permanent_500_stops_and_keeps_the_labels_that_arrived():
    def reply(number, body):
        bad = body["messages"][0]["content"] == "prompt 2"
        return failure(500, "out of order") if bad else echo(number, body)

    with serving(reply) as server:
        labels, error = ask(server, 6, concurrency=1)
    assert sorted(labels) == [0, 1]
    assert "answered 500 Internal Server Error: out of order, 6 times in a row" in error
    assert len(server.asked) == 2 + 6


def test_pending_labels_are_kept_when_another_fails():
    """They cost money. The error waits for them, and no more requests are sent."""

    def reply(number, body):
        if body["messages"][0]["content"] == "prompt 0":
            return failure(404, "no such model")
        time.sleep(0.3)
        return echo(number, body)

    with serving(reply) as server:
        labels, error = ask(server, 50)
    assert "no such model" in error
    assert sorted(labels) == [1, 2, 3]
    assert len(server.asked) == 4


def test_a_redirect_does_not_send_the_key_to_another_server():
    with serving(echo) as other:
        moved = (302, {"Location": f"{other.url}/chat/completions"}, b"")
        with serving(lambda n, body: moved) as server:
            labels, error = ask(server, 1)
    assert "answered 302" in error
    assert (labels, other.paths) == ({}, [])


def test_a_request_to_a_slow_server_times_out_and_is_retried():
    def reply(number, body):
        if number == 0:
            time.sleep(0.5)
        return echo(number, body)

    with serving(reply) as server:
        labels, error = ask(server, 1, timeout=0.2)
        assert (error, labels[0].text, len(server.asked)) == (None, "PROMPT 0", 2)
    with serving(lambda n, body: time.sleep(0.3) or echo(n, body)) as server:
        labels, error = ask(server, 1, timeout=0.05)
        assert "did not answer within 0.05 s (label.endpoint.timeout), 6 times in a row" in error


def test_an_unreachable_server_is_reported_at_once():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        _, error = ask(f"http://127.0.0.1:{free.getsockname()[1]}/v1", 3, concurrency=1)
    assert "cannot be reached" in error
    assert "check label.endpoint.url and that the server is running" in error


def test_what_there_is_of_a_label_that_was_cut_off_is_kept():
    with serving(lambda n, body: completion("ab", "length")) as server:
        labels, _ = ask(server, 1)
    assert (labels[0].text, labels[0].unanswered) == ("ab", CUT_OFF)


# --- cost -------------------------------------------------------------------------------------


def test_tokens_cost_what_the_prices_say():
    with serving(lambda n, body: completion(usage=(1000, 200))) as server:
        labels, _ = ask(server, 1, cost=99.0, prompt_price=2.0, response_price=5.0)
    assert labels[0].cost == pytest.approx(1000 * 2e-6 + 200 * 5e-6)


def test_prices_need_a_server_that_counts():
    with serving(lambda n, body: completion(usage=None)) as server:
        _, error = ask(server, 1, prompt_price=2.0)
    assert "does not report its token counts" in error


def test_what_is_refused_costs_what_the_server_says():
    """Failed attempts are added up; a completion without an answer needs no count of tokens."""
    used = {"usage": {"prompt_tokens": 1000, "completion_tokens": 0}}
    replies = {
        0: completion(usage=(1000, 200)),
        1: completion(None, usage=(1000, 500)),
        2: completion(None, usage=None),
        3: (200, {}, json.dumps({"choices": []} | used).encode()),
        4: failure(400, "no"),
    }
    with serving(lambda n, body: replies[prompt_of(body)]) as server:
        labels, error = ask(server, 5, cost=99.0, prompt_price=2.0, response_price=5.0)
    assert error is None
    assert [round(1e6 * labels[n].cost) for n in range(5)] == [3000, 4500, 0, 12000, 0]


@pytest.mark.parametrize(
    "counts", [(-1, 5), (5, None), (True, 5), ("5", 5), (10**400, 5), (1.5, 2)]
)
def test_counts_that_are_no_counts_are_not_used(counts):
    with serving(lambda n, body: completion(usage=counts)) as server:
        _, error = ask(server, 1, prompt_price=2.0)
    assert "does not report its token counts" in error


@pytest.mark.parametrize("concurrency", [1, 8])
@pytest.mark.parametrize(("cap", "spent", "bought"), [(3.0, 0.0, 3), (0.3, 0.0, 0), (9.5, 5.0, 4), (4.0, 4.0, 0)])  # fmt: skip
def test_the_cost_cap_is_never_exceeded_when_all_labels_cost_the_same(
    cap, spent, bought, concurrency
):
    with serving(echo) as server:
        labels, error = ask(server, 20, spent, max_cost=cap, concurrency=concurrency)
    assert len(labels) == len(server.asked) == bought
    assert f"max_cost {cap:g} is reached: the run's labels cost {spent + bought:g} so far" in error
    assert f"needs {20 - bought} more" in error


def test_the_cost_cap_in_tokens_is_learned_from_the_first_label():
    with serving(lambda n, body: completion(usage=(0, 100))) as server:
        labels, error = ask(server, 20, response_price=1e4, max_cost=5.5, concurrency=8)
    assert len(labels) == len(server.asked) == 5
    assert "is reached" in error


def test_a_sufficient_cost_cap_does_not_stop_the_run():
    with serving(echo) as server:
        labels, error = ask(server, 3, cost=0.1, max_cost=0.3)
    assert (error, len(labels)) == (None, 3)


# --- the key and the config -------------------------------------------------------------------


def test_a_missing_or_invalid_key_is_reported_and_never_shown(monkeypatch):
    settings = config_for("http://localhost:1/v1").label.endpoint
    assert read_key(settings) == KEY
    assert read_key(replace(settings, api_key_env="")) == ""
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(BoostError, match="environment variable OPENAI_API_KEY is not set"):
        read_key(settings)
    for odd in ("sk\nX-Other: 1", "sk 1", "sk-é"):
        monkeypatch.setenv("OPENAI_API_KEY", odd)
        with pytest.raises(
            BoostError, match="OPENAI_API_KEY does not contain a valid key"
        ) as caught:
            read_key(settings)
        assert "sk" not in str(caught.value)


def test_without_a_key_none_is_sent():
    with serving(echo) as server:
        ask(server, 1, api_key_env="")
    assert server.keys == [None]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "label.endpoint.url: '' is not an http:// or https:// address"),
        ([], "label.endpoint.model: the server's name"),
        (["url=localhost:8000"], "url: 'localhost:8000' is not an http"),
        (["url=http://h:99999/v1"], "is not an http"),
        (["url=https://me:hidden@host/v1"], "has a user name, password or query"),
        (["url=https://host/v1?key=hidden"], "has a user name, password or query"),
        (["api_key_env=sk-hidden"], "api_key_env: not the name of an environment variable"),
        (["api_key_env=gsk_hidden"], "api_key_env: not the name"),
        (["concurrency=0"], "label.endpoint.concurrency: 0 is below 1"),
        (["timeout=0"], "label.endpoint.timeout: must be above 0"),
        (["max_cost=-1"], "label.endpoint.max_cost: -1.0 is below 0"),
    ],
)
def test_invalid_settings_are_rejected(arguments, said):
    words = ["--label.labeler=endpoint", *(f"--label.endpoint.{a}" for a in arguments)]
    with pytest.raises(BoostError) as caught:
        override(Config(), words)
    assert said in str(caught.value)
    assert "hidden" not in str(caught.value)
