"""A local server that speaks as much of the chat-completions protocol as tests need."""

import json
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

KEY = "sk-test-0123456789"


def completion(text="abc", finish="stop", usage=(10, 5)):
    """A 200 with one choice."""
    body = {
        "choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": finish}]
    }
    if usage:
        body["usage"] = dict(zip(("prompt_tokens", "completion_tokens"), usage, strict=True))
    return 200, {}, json.dumps(body).encode()


def failure(status, message="no", **headers):
    """An error as OpenAI's servers write it."""
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    return status, headers, json.dumps({"error": {"message": message}}).encode()


class ChatServer(ThreadingHTTPServer):
    """Answers with `reply(number of the request, its body)`, where numbers count from 0.

    A reply is (status, headers, data), or a function of the request's handler.

    Attributes:
      asked: bodies, in order of arrival.
      keys: Authorization headers.
      times: of arrival, in seconds.
      most: requests that were under way at once.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, reply):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.reply = reply
        self.asked, self.keys, self.paths, self.times = [], [], [], []
        self.under_way = self.most = 0
        self.guard = threading.Lock()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/v1"

    def handle_error(self, request, address):
        """Killed clients hang up, which is not an error."""


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        """What a client that follows redirects would send."""
        self.server.paths.append(self.path)
        self.send_error(405)

    def do_POST(self):
        server = self.server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with server.guard:
            number = len(server.asked)
            server.asked.append(body)
            server.keys.append(self.headers["Authorization"])
            server.paths.append(self.path)
            server.times.append(time.monotonic())
            server.under_way += 1
            server.most = max(server.most, server.under_way)
        try:
            given = server.reply(number, body)
        finally:
            with server.guard:
                server.under_way -= 1
        if callable(given):  # it writes to the connection itself
            given(self)
            return
        status, headers, data = given
        self.send_response(status)
        for name, value in {"Content-Length": len(data), **headers}.items():
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args):
        pass


@contextmanager
def serving(reply):
    """A server for the length of a block."""
    server = ChatServer(reply)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
