"""What servers do, one behaviour a line, and what the endpoint labeler makes of it.

Each behaviour is tried once on one prompt, always on one prompt, and on every prompt.
"""

import contextlib
import json
import socket
import struct
import threading
import time

import pytest
from support.asking import ask, echo, prompt_of
from support.chat_server import KEY, completion, failure, serving

from boostlm.config import EndpointConfig
from boostlm.errors import BoostError
from boostlm.labelers import chat_client
from boostlm.labelers.endpoint import REFUSALS


@pytest.fixture(autouse=True)
def surroundings(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def ok(body):
    """A 200 with any body: bytes, or an object that becomes JSON."""
    return 200, {}, body if isinstance(body, bytes) else json.dumps(body).encode()


def choice(**fields):
    return ok({"choices": [{"message": {"content": "abc"}, "finish_reason": "stop"} | fields]})


def message(**fields):
    return choice(message={"role": "assistant"} | fields)


def reset(handler):
    """The connection is reset before an answer."""
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()


def hang_up(handler):
    handler.connection.shutdown(socket.SHUT_RDWR)


def no_http(handler):
    handler.wfile.write(b"220 mail.example.com ESMTP\r\n")


def half_a_chunk(handler):
    handler.protocol_version = "HTTP/1.1"
    handler.send_response(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    handler.wfile.write(b'10\r\n{"cho')


ERROR = {"message": "Provider returned error"}
MODERATED = {"code": 403, "message": "input was flagged", "metadata": {"reasons": ["violence"]}}
FULL = completion("abc")[2]

# It may pass: the request is tried again, and the run stops if it lasts.
SERVER = {
    "408": failure(408),
    "409": failure(409, "a conflict"),
    "424": failure(424, "incomplete generation"),
    "425": failure(425),
    "429": failure(429, "slow down"),
    "429, wait 0": failure(429, Retry_After="0"),
    "429, wait -5": failure(429, Retry_After="-5"),
    "429, wait garbage": failure(429, Retry_After="soon"),
    "429, wait nan": failure(429, Retry_After="nan"),
    "429, wait until 2015": failure(429, Retry_After="Wed, 21 Oct 2015 07:28:00 GMT"),
    "429, wait until a past time stamp": failure(429, Retry_After="1700000000"),
    "500": failure(500),
    "500 of HTML": (500, {}, b"<html>Oops</html>"),
    "502 of nothing": (502, {}, b""),
    "503, wait 3": failure(503, Retry_After="3"),
    "504": failure(504),
    "520": failure(520),
    "529": failure(529, "overloaded"),
    "200 with error 502": ok({"error": ERROR | {"code": 502}}),
    "200 with error '503'": ok({"error": ERROR | {"code": "503"}}),
    "200 with error 429": ok({"error": {"code": 429, "message": "rate"}, "choices": None}),
    "200 with error 409": ok({"error": {"code": 409}}),
    "an error 502 in a choice": choice(error=ERROR | {"code": 502}),
    "torn by length": (200, {"Content-Length": 1000}, b'{"choices"'),
    "torn chunk": half_a_chunk,
    "reset": reset,
    "hung up": hang_up,
    "no HTTP": no_http,
}

# It may pass, too. If it lasts for one prompt, this one has no answer.
REPLY = {
    "choices null": ok({"choices": None}),
    "choices empty": ok({"choices": []}),
    "no choices": ok({"id": "x", "object": "chat.completion"}),
    "choices an object": ok({"choices": {"0": {}}}),
    "choices of null": ok({"choices": [None]}),
    "choices of text": ok({"choices": ["abc"]}),
    "no message": ok({"choices": [{"finish_reason": "stop"}]}),
    "message null": choice(message=None),
    "message a text": choice(message="abc"),
    "message a list": choice(message=["abc"]),
    "legacy text": ok({"choices": [{"text": "abc"}]}),
    "content a number": message(content=5),
    "content true": message(content=True),
    "content of numbers": message(content=[5]),
    "content of null": message(content=[None]),
    "a text part without text": message(content=[{"type": "text"}]),
    "error without a code": ok({"error": ERROR}),
    "error a text": ok({"error": "out of order"}),
    "error with a word": ok({"error": {"code": "server_error", "message": "try again"}}),
    "error with code 0": ok({"error": {"code": 0, "message": "?"}}),
    "an error in a choice": choice(error=ERROR),
    "finish error": choice(finish_reason="error"),
    "finish abort": choice(finish_reason="abort"),
    "finish out of resources": choice(finish_reason="insufficient_system_resource"),
    "half of the JSON": ok(FULL[:30]),
    "JSON and more": ok(FULL + b"}"),
    "nothing": ok(b""),
    "204": (204, {}, b""),
    "latin-1": ok('{"choices": [{"message": {"content": "é"}}]}'.encode("latin-1")),
    "deep JSON": ok(b'{"a":' + b"[" * 100_000),
    "too large": ok(b"{" + b" " * (16 * 2**20)),
}

# Asking again is useless: this prompt has no answer.
PROMPT = {
    "400 filtered": failure(400, "content_filter"),
    "400 too long": failure(400, "maximum context length is 4096 tokens"),
    "400 of nothing": (400, {}, b""),
    "400 of HTML": (400, {}, b"<html><h1>Bad Request</h1></html>"),
    "400 in FastAPI's words": (400, {}, b'{"detail": [{"msg": "too long"}]}'),
    "400 with the key": failure(400, f"no {KEY}"),
    "400 with control characters": failure(400, "no\x1b[2J\n\ud800\u2028no"),
    "413": failure(413),
    "414": failure(414),
    "422": (422, {}, b'{"message": "input too long"}'),
    "431": failure(431),
    "451": failure(451),
    "403 flagged": (403, {}, json.dumps({"error": MODERATED}).encode()),
    "200 with error 400": ok({"error": ERROR | {"code": 400}}),
    "200 with error 403 flagged": ok({"error": MODERATED}),
    "an error 400 in a choice": choice(error=ERROR | {"code": 400}),
}

# No prompt will be answered: the run stops at once.
SETTINGS = {
    "401": (failure(401, f"Incorrect API key: {KEY}"), "*** (the key is taken from OPENAI_API_KEY)"),
    "402": (failure(402, "no credits"), "no credits (the key is taken from OPENAI_API_KEY)"),
    "403": (failure(403, "forbidden"), "(the key is taken from OPENAI_API_KEY)"),
    "403 of HTML": ((403, {}, b"<html>safety first</html>"), "the key is taken from"),
    "404": (failure(404, "no model m"), "no model m: check label.endpoint.url"),
    "404 of HTML": ((404, {}, b"<html>\nnothing"), "404 Not Found: <html> nothing: check"),
    "405": (failure(405), "which often ends in /v1, and label.endpoint.model"),
    "410": (failure(410, "the model is retired"), "retired: check"),
    "415": (failure(415), "check label.endpoint.url"),
    "301": ((301, {"Location": "https://b/v1"}, b""), "it redirects to https://b/v1; set label.endp"),
    "302": ((302, {"Location": "/v2/chat"}, b""), "it redirects to /v2/chat; set label.endpoint.url"),
    "307": ((307, {}, b""), "it redirects to another address"),
    "308": ((308, {"Location": f"https://b/{KEY}"}, b""), "it redirects to https://b/***"),
    "200 of HTML": (ok(b"<!DOCTYPE html>"), "no chat completion: <!DOCTYPE html>: check"),
    "200 of a text": (ok(b"hello"), "no chat completion: hello: check label.endpoint.url"),
    "200 of a list": (ok(b"[]"), "no chat completion: []: check"),
    "200 of no text": (ok(b"\xff\xfe\x00"), "no chat completion: "),
    "200 of events": (ok(b"data: {}\n\n"), "no chat completion: data: {}"),
    "200 with error 401": (ok({"error": {"code": 401, "message": "key"}}), "error 401: key"),
    "a long wait": (failure(429, "quota", Retry_After="86400"), "quota, and asks to wait 86400 s: run"),
    "a very long wait": (failure(429, Retry_After="1" + 8 * "0"), "to wait 100000000 s: run the same"),
}  # fmt: skip

# A completion that holds no whole answer. It is paid for and recorded.
UNANSWERED = {
    "content null": (message(content=None), "no text"),
    "no content": (message(), "no text"),
    "content empty": (message(content=""), "no text"),
    "content blank": (message(content=" \n\t\u3000"), "no text"),
    "no parts": (message(content=[]), "no text: reasoning only"),
    "reasoning_content": (message(content="", reasoning_content="so"), "no text: reasoning only"),
    "reasoning": (message(content=None, reasoning="so"), "no text: reasoning only"),
    "thinking part": (message(content=[{"type": "thinking", "thinking": []}]), "no text: reasoning only"),
    "tool call": (message(content=None, tool_calls=[{"id": 1}]), "no text: the model calls a tool"),
    "function call": (message(function_call={"name": "f"}), "no text: the model calls a tool"),
    "words before a tool call": (choice(finish_reason="tool_calls"), "no text: the model calls a tool"),
    "refusal": (message(content=None, refusal="I\ncannot"), "the model refused: I cannot"),
    "refusal part": (message(content=[{"type": "refusal", "refusal": "no"}]), "the model refused: no"),
    "filtered": (choice(finish_reason="content_filter"), "filtered by the server (content_filter)"),
    "filtered, null": (completion(None, "content_filter"), "filtered by the server (content_filter)"),
    "filtered by Gemini": (choice(finish_reason="SAFETY"), "filtered by the server (safety)"),
    "cut off": (completion("abc", "length"), "cut off by the length limit"),
    "cut off, empty": (completion("", "length"), "cut off by the length limit"),
    "cut off, null": (completion(None, "length"), "cut off by the length limit"),
    "cut off by Gemini": (choice(finish_reason="MAX_TOKENS"), "cut off by the length limit"),
    "cut off by Mistral": (choice(finish_reason="model_length"), "cut off by the length limit"),
    "half an emoji": (ok(b'{"choices": [{"message": {"content": "\\ud83d"}}]}'), "half a character: "),
}  # fmt: skip

WHOLE = {
    "without finish_reason": message(content="abc"),
    "finish null": choice(finish_reason=None),
    "finish eos": choice(finish_reason="eos"),
    "parts": message(content=[{"type": "text", "text": "a"}, {"type": "text", "text": "bc"}]),
    "output_text": message(content=[{"type": "output_text", "text": "abc"}]),
    "thinking and text": message(content=[{"type": "thinking"}, {"type": "text", "text": "abc"}]),
    "a list of text": message(content=["a", "bc"]),
    "one part": message(content={"type": "text", "text": "abc"}),
    "with reasoning": message(content="abc", reasoning_content="so"),
    "error null": ok(json.loads(FULL) | {"error": None}),
    "choice with error null": choice(error=None),
    "a BOM": ok(b"\xef\xbb\xbf" + FULL),
    "UTF-16": ok(FULL.decode().encode("utf-16")),
    "another charset in the header": (200, {"Content-Type": "text/html; charset=latin-1"}, FULL),
    "201": (201, {}, FULL),
    "lines before the JSON": ok(b"\n\n\n" + FULL),
    "two choices": ok({"choices": [{"message": {"content": t}} for t in ("abc", "de")]}),
}


def run(reply, when, count=4, **settings):
    """(labels, error, requests for each prompt, waits) if `when(prompt, nth request for it)`."""
    seen = []

    def server_reply(number, body):
        seen.append(prompt := prompt_of(body))
        return reply if when(prompt, seen.count(prompt)) else echo(number, body)

    waits = []
    with serving(server_reply) as server:
        labels, error = ask(server, count, waits=waits, concurrency=1, **settings)
    return labels, error, [seen.count(n) for n in range(count)], waits


def names(*tables):
    return pytest.mark.parametrize("name", [name for table in tables for name in table])


@names(SERVER, REPLY)
def test_what_may_pass_is_tried_again(name):
    reply = (SERVER | REPLY)[name]
    labels, error, requests, waits = run(reply, lambda prompt, nth: prompt == 0 and nth <= 2)
    assert (error, requests) == (None, [3, 1, 1, 1])
    assert {n: (x.text, x.unanswered) for n, x in labels.items()} == {
        n: (f"PROMPT {n}", "") for n in range(4)
    }
    assert len(waits) == 2
    assert 0.8 <= waits[0] < waits[1] * 1.0001
    assert waits[1] <= 3


@names(SERVER)
@pytest.mark.parametrize("everywhere", [False, True])
def test_what_lasts_stops_the_run_and_keeps_what_came(name, everywhere):
    """It would be unfair to give up on a prompt because a server is down."""
    labels, error, requests, waits = run(SERVER[name], lambda p, nth: everywhere or p == 2)
    assert requests == ([6, 0, 0, 0] if everywhere else [1, 1, 6, 0])
    assert sorted(labels) == [] if everywhere else [0, 1]
    assert error.endswith("6 times in a row: run the same command again when the server works")
    assert [round(w) >= 0.5 * 2**n for n, w in enumerate(waits)] == [True] * 5


@names(REPLY, PROMPT)
def test_a_prompt_that_is_refused_is_unanswered_and_the_run_goes_on(name):
    reply = (REPLY | PROMPT)[name]
    labels, error, requests, _ = run(reply, lambda prompt, nth: prompt in (0, 2))
    times = 6 if name in REPLY else 1
    assert (error, requests) == (None, [times, 1, times, 1])
    assert [labels[n].text for n in range(4)] == ["", "PROMPT 1", "", "PROMPT 3"]
    assert [labels[n].cost for n in range(4)] == [0, 1, 0, 1]
    assert labels[1].unanswered == labels[3].unanswered == ""
    assert labels[0].unanswered.startswith("answered ")
    assert len(labels[0].unanswered) < 400


@pytest.mark.slow
@names(REPLY, PROMPT)
def test_if_all_prompts_are_refused_the_run_stops_and_records_none(name):
    reply = (REPLY | PROMPT)[name]
    labels, error, requests, _ = run(reply, lambda prompt, nth: True, REFUSALS + 4)
    assert labels == {}
    assert sum(n > 0 for n in requests) == REFUSALS
    assert f"The last {REFUSALS} prompts were refused, and so was the question" in error
    assert "--label.endpoint.request (now {" in error
    assert "check label.endpoint.model and the key" in error


PAGES = {name for name in SETTINGS if name.startswith("200 of ")}


@names(sorted(PAGES))
def test_a_page_from_a_server_that_has_answered_may_pass(name):
    """Proxies send such pages while a server restarts."""
    reply, _ = SETTINGS[name]
    labels, error, requests, _ = run(reply, lambda prompt, nth: prompt == 2 and nth < 3)
    assert (error, requests, len(labels)) == (None, [1, 1, 3, 1], 4)
    labels, error, requests, _ = run(reply, lambda prompt, nth: prompt == 2)
    assert (error, requests) == (None, [1, 1, 6, 1])
    assert labels[2].unanswered.startswith("answered with no chat completion: ")


@pytest.mark.parametrize(
    ("name", "first"), [(n, k) for n in SETTINGS for k in (0, 2) if not (k and n in PAGES)]
)
def test_what_no_retry_can_mend_stops_the_run_at_once(name, first):
    reply, said = SETTINGS[name]
    labels, error, requests, waits = run(reply, lambda prompt, nth: prompt >= first)
    assert said in error
    assert (sorted(labels), waits) == (list(range(first)), [])
    assert requests == [n <= first for n in range(4)]


@names(UNANSWERED)
def test_a_completion_without_an_answer_is_recorded_and_paid_for(name):
    reply, reason = UNANSWERED[name]
    labels, error, requests, _ = run(reply, lambda prompt, nth: prompt > 0)
    assert (error, requests) == (None, [1, 1, 1, 1])
    for n in (1, 2, 3):
        assert labels[n].unanswered.startswith(reason)
        assert labels[n].cost == 1
    assert labels[0].unanswered == ""


@names(WHOLE)
def test_odd_forms_of_an_answer_are_read(name):
    labels, error, requests, _ = run(WHOLE[name], lambda prompt, nth: True)
    assert (error, requests) == (None, [1, 1, 1, 1])
    assert {(x.text, x.unanswered, x.cost) for x in labels.values()} == {("abc", "", 1.0)}


def trickling_server(part):
    """A port that answers one request with a slow, endless repetition of some bytes."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve():
        connection, _ = server.accept()
        with connection, contextlib.suppress(OSError):
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 200 OK\r\n")
            while True:
                connection.sendall(part)
                time.sleep(0.02)

    threading.Thread(target=serve, daemon=True).start()
    return server


TRICKLES = {"headers": b"X: 1\r\n", "one header": b"x", "a body": b"\r\n\r\nx", "spaces": b" "}


@names(TRICKLES)
def test_a_response_that_trickles_in_ends_at_the_timeout(name):
    """Each of its reads is quick, and no single one runs into the socket's timeout."""
    with trickling_server(TRICKLES[name]) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        settings = EndpointConfig(url=url, model="m", timeout=0.5)
        client = chat_client.ChatClient(settings, "", 1.0, lambda stopping, seconds: True)
        began = time.monotonic()
        with pytest.raises(BoostError, match="did not answer within"):
            client.ask("?", threading.Event())
        assert time.monotonic() - began < 5
