"""Google Cloud Storage in this process: one store behind fsspec's and TensorStore's doors.

etils opens gs:// paths with fsspec's file system "gcs", which is gcsfs on a TPU VM and a dictionary
here; Orbax's arrays go through TensorStore's own client, which talks HTTP to a server of this
process. As in a bucket, folders exist only as the beginnings of names, and a name gets its whole
content at once. Not stood in for: gcsfs itself, credentials, and the network's failures.
"""

import json
import threading
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

import fsspec
from etils.epath import backend
from fsspec.implementations.memory import MemoryFile, MemoryFileSystem


class Bucket(MemoryFileSystem):
    """gs:// as a dictionary of names, without folders."""

    protocol = ("gcs", "gs")
    store = {}  # noqa: RUF012  (of the base class, shared by all instances)
    pseudo_dirs = [""]  # noqa: RUF012

    @classmethod
    def _strip_protocol(cls, path):
        path = path.removeprefix("gs://").removeprefix("gcs://").strip("/")
        return f"/{path}" if path else ""

    def mkdir(self, path, create_parents=True, **kwargs):
        """Buckets have none."""

    def makedirs(self, path, exist_ok=False):
        """Buckets have none."""


class _Server(BaseHTTPRequestHandler):
    """The part of the JSON API that TensorStore uses."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        bucket, name, query = self._place()
        if name is None:
            found = sorted(
                k for k in Bucket.store if k.startswith(f"/{bucket}/{query.get('prefix', '')}")
            )
            return self._send(200, json.dumps({"items": [_about(k) for k in found]}).encode())
        file = Bucket.store.get(f"/{bucket}/{name}")
        if file is None:
            return self._send(404)
        data = file.getvalue()
        if span := self.headers.get("Range"):
            first, last = span.removeprefix("bytes=").split("-")
            end = int(last) + 1 if last else len(data)
            total, data = len(data), data[int(first) : end]
            return self._send(206, data, {"Content-Range": f"bytes {first}-{end - 1}/{total}"})
        return self._send(200, data)

    def do_POST(self):
        bucket, _, query = self._place()
        key = f"/{bucket}/{query['name']}"
        data = self.rfile.read(int(self.headers["Content-Length"]))
        if query.get("ifGenerationMatch") == "0" and key in Bucket.store:
            return self._send(412)
        Bucket.store[key] = MemoryFile(None, key, data)
        return self._send(200, json.dumps(_about(key)).encode())

    def do_DELETE(self):
        bucket, name, _ = self._place()
        return self._send(204 if Bucket.store.pop(f"/{bucket}/{name}", None) else 404)

    def _place(self):
        url = urlsplit(self.path)
        parts = url.path.partition("/b/")[2].split("/o", 1)
        name = unquote(parts[1].lstrip("/")) if len(parts) > 1 else ""
        return parts[0], name or None, {k: v[0] for k, v in parse_qs(url.query).items()}

    def _send(self, status, data=b"", headers=None):
        self.send_response(status)
        for key, value in ((headers or {}) | {"x-goog-generation": "1"}).items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args):
        pass


def _about(key):
    size = len(Bucket.store[key].getvalue())
    name = key.split("/", 2)[2]
    now = datetime.now(UTC).isoformat()
    return {"name": name, "size": str(size), "generation": "1", "updated": now, "timeCreated": now}


@contextmanager
def bucket(monkeypatch):
    """Within it, gs:// is this process's; yields the dictionary of names."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Server)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setenv("TENSORSTORE_GCS_HTTP_URL", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("GOOGLE_AUTH_TOKEN_FOR_TESTING", "none")
    monkeypatch.setenv("EPATH_USE_TF", "false")
    fsspec.register_implementation("gcs", Bucket, clobber=True)
    type(backend.fsspec_backend)._get_filesystem.cache_clear()
    Bucket.store.clear()
    try:
        yield Bucket.store
    finally:
        server.shutdown()
        server.server_close()
        type(backend.fsspec_backend)._get_filesystem.cache_clear()
