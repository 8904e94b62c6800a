"""The endpoint labeler: what is sent, and prompts that are refused."""

import json
import threading
from dataclasses import replace

import pytest
from support.asking import ask, echo, prompt_of, queries
from support.chat_server import KEY, failure, serving

from boostlm.config import Config
from boostlm.config_io import from_json, override, to_json
from boostlm.errors import BoostError
from boostlm.labelers.endpoint import REFUSALS


@pytest.fixture(autouse=True)
def surroundings(monkeypatch):
    """A key, and no proxy."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("no_proxy", "127.0.0.1")


# What reasoning models refuse, and other servers: None for a field that must not be there.
SERVERS = {
    "o-series": {"max_tokens": None, "temperature": None, "top_p": None},
    "with a limit": {"max_completion_tokens": 8192},
    "strict old one": {"max_completion_tokens": None, "max_tokens": 512},
    "strict one": {"max_completion_tokens": None, "max_tokens": None, "temperature": None},
    "samples as it is told": {"temperature": 0.7, "top_p": 0.9, "top_k": 40},
    "reasoning effort": {"reasoning_effort": "low", "max_completion_tokens": 20000},
    "OpenRouter": {"reasoning": {"effort": "high", "exclude": True}},
    "vLLM": {"chat_template_kwargs": {"enable_thinking": False}},
    "Anthropic": {"thinking": {"type": "enabled", "budget_tokens": 2000}, "max_tokens": 4000},
    "stop strings": {"stop": ["\n\n", "</s>"]},
    "seeded": {"seed": 0},
    "a field that is null": {"user": None, "logprobs": False},
    "beyond ASCII": {"user": "\u00e9\U0001f600"},
    "nothing": {},
}


@pytest.mark.parametrize("name", SERVERS)
def test_the_user_says_what_is_sent(name):
    wants = SERVERS[name]
    request = {k: v for k, v in wants.items() if v is not None}
    text = override(Config(), [f"--label.endpoint.request={json.dumps(request)}"])
    text = from_json(to_json(text), "here").label.endpoint.request

    def reply(number, body):
        for field, value in wants.items():
            if body.get(field) != value:
                return failure(400, f"Unsupported value: {field}")
        return echo(number, body)

    with serving(reply) as server:
        labels, error = ask(server, 3, request=text)
    assert (error, len(labels)) == (None, 3)
    for sent in server.asked:
        messages = [{"role": "user", "content": f"prompt {prompt_of(sent)}"}]
        assert sent == {"model": "m", "messages": messages} | request


def test_by_default_a_request_is_one_that_reasoning_models_accept():
    with serving(echo) as server:
        ask(server, 1)
    assert server.asked[0].keys() == {"model", "messages", "max_completion_tokens"}
    assert server.asked[0]["max_completion_tokens"] == 8192


@pytest.mark.parametrize(
    "request_text",
    [
        "", " ", "max_tokens", "max_tokens=5", "{", "{}{}", "{'a': 1}", "{a: 1}", "[]", "null", "5",
        '"{}"', '[{"a": 1}]', '{"a": 1,}', '{"a": NaN}', '{"a": Infinity}', '{"a": [-Infinity]}',
        '{"model": "x"}', '{"messages": []}', '{"n": 2}', '{"stream": true}', '{"a":' + "[" * 9999,
    ],
)  # fmt: skip
def test_a_request_that_is_no_object_of_fields_is_rejected(request_text):
    said = "label.endpoint.request: .* is not a JSON object such as"
    with pytest.raises(BoostError, match=said):
        override(Config(), [f"--label.endpoint.request={request_text}"])


# --- refused prompts --------------------------------------------------------------------------


def asked_with(refused, count, spent=0.0, concurrency=1, samples=1):
    """(labels, error, order of the prompts) if the server refuses some prompts."""
    refused = set(refused)

    def reply(number, body):
        return failure(400, "no") if prompt_of(body) in refused else echo(number, body)

    asked = [replace(q, sample=s) for q in queries(count) for s in range(samples)]
    with serving(reply) as server:
        labels, error = ask(server, asked, spent, concurrency=concurrency)
    return labels, error, [prompt_of(body) for body in server.asked]


@pytest.mark.parametrize(
    "concurrency", [4, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 20))]
)
@pytest.mark.parametrize(
    ("refused", "count"),
    [
        ([0], 2), ([1], 2), ([0, 1, 2], 4), (range(7), 8), (range(1, 8), 8), (range(7), 20),
        (range(20), 40), (range(20, 40), 40), (range(0, 40, 2), 40), (range(1, 40, 2), 40),
        ([39], 40), (range(33, 40), 40), (range(30), 100), ([], 5),
    ],
)  # fmt: skip
def test_wherever_the_refused_prompts_stand_the_others_are_answered(refused, count, concurrency):
    labels, error, order = asked_with(refused, count, concurrency=concurrency)
    assert error is None
    assert sorted(n for n in order if n >= 0) == list(range(count))  # each is asked once
    assert {n for n, label in labels.items() if label.unanswered} == set(refused)
    assert all(labels[n].text == f"PROMPT {n}" for n in range(count) if n not in refused)


@pytest.mark.parametrize("count", [1, 2, REFUSALS - 1, REFUSALS, 3 * REFUSALS])
@pytest.mark.parametrize("concurrency", [1, 4, 20])
def test_if_nothing_is_ever_answered_the_run_stops(count, concurrency):
    labels, error, order = asked_with(range(-1, count), count, concurrency=concurrency)
    assert labels == {}
    tried = len(order) - 1
    assert min(count, REFUSALS) <= tried < REFUSALS + concurrency
    assert order.index(-1) == tried  # the plain question comes last
    assert f"answered 400 Bad Request: no. The last {tried} prompts were refused, and so" in error


@pytest.mark.parametrize("count", [1, 2, REFUSALS - 1, REFUSALS, 3 * REFUSALS])
@pytest.mark.parametrize("concurrency", [1, 4, 20])
def test_prompts_that_are_all_refused_are_recorded_if_the_plain_question_is_answered(
    count, concurrency
):
    labels, error, order = asked_with(range(count), count, concurrency=concurrency)
    assert (error, len(labels)) == (None, count)
    assert all(label.unanswered == "answered 400 Bad Request: no" for label in labels.values())
    questions = order.count(-1)
    assert questions == (-(-count // REFUSALS) if concurrency == 1 else questions) > 0
    assert sum(label.cost for label in labels.values()) == questions  # it is paid for


def test_a_server_that_begins_to_refuse_everything_stops_the_run():
    """Such as 400 for credit that is used up: these prompts are asked again later."""
    with serving(lambda n, body: echo(n, body) if n < 10 else failure(400, "no")) as server:
        labels, error = ask(server, 40, concurrency=1)
    assert sorted(labels) == list(range(10))
    assert "The last 8 prompts were refused, and so was the question" in error
    assert len(server.asked) == 10 + REFUSALS + 1


def test_the_plain_question_is_not_asked_beyond_the_cost_cap():
    with serving(lambda n, body: echo(n, body) if n < 2 else failure(400, "no")) as server:
        labels, error = ask(server, 40, concurrency=1, max_cost=2.5)
    assert (sorted(labels), len(server.asked)) == ([0, 1], 2)
    assert "needs 38 more" in error
    with serving(lambda n, body: failure(400, "no")) as server:
        labels, error = ask(server, 3, concurrency=1, max_cost=0.5)
    assert (labels, server.asked) == ({}, [])
    paid_for = {"choices": [], "usage": {"prompt_tokens": 0, "completion_tokens": 1}}
    with serving(lambda n, body: (200, {}, json.dumps(paid_for).encode())) as server:
        labels, error = ask(server, 3, concurrency=1, response_price=1e6, max_cost=10.0)
    assert "max_cost 10 is reached: the run's labels cost 12 so far" in error
    assert sorted(map(prompt_of, server.asked)) == [0] * 6 + [1] * 6


def test_the_same_prompt_refused_often_is_one_prompt():
    """The hardest prompts are asked several times in a round, and in every round."""
    labels, error, order = asked_with([1, 2], 4, samples=20)
    assert (error, len(order)) == (None, 80)
    assert sum(bool(label.unanswered) for label in labels.values()) == 40


def test_slow_answers_are_awaited_before_the_prompts_are_blamed():
    """Refusals come sooner than answers."""
    all_refused = threading.Event()

    def reply(number, body):
        if prompt_of(body):
            if number >= REFUSALS:
                all_refused.set()
            return failure(400, "no")
        assert all_refused.wait(5)
        return echo(number, body)

    with serving(reply) as server:
        labels, error = ask(server, REFUSALS + 1, concurrency=20)
    assert (error, len(labels)) == (None, REFUSALS + 1)
    assert len(server.asked) == REFUSALS + 1  # the plain question is not needed
