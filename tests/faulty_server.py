"""A server between a client and an S3 server that does what bad ones do: `python faulty_server.py PORT BACKEND`.

POST /fault sets what it does to requests from then on, as JSON: `kind` (none, flip, shorten, 403, 500, 503, slow, cut
before the request is passed on, or lose the answer of a request that was), `method` (or `*`), `match` (a part of the
path) and `times`.
"""

from __future__ import annotations

import http.client
import json
import sys
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

LOCK = threading.Lock()
FAULT: dict[str, Any] = {"kind": "none", "method": "GET", "match": "", "times": 0, "done": 0}


class Handler(BaseHTTPRequestHandler):
    """Pass a request on to the backend, with the fault that is set."""

    protocol_version = "HTTP/1.1"
    backend = ("127.0.0.1", 0)

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def answer(self) -> None:
        body = self.body()
        if self.path == "/fault":
            if self.command == "POST":
                FAULT.update({"done": 0, "times": 1 << 30, "match": ""} | json.loads(body))
            return self.reply(200, [], json.dumps(FAULT).encode())
        kind = self.fault()
        if kind in ERRORS:
            return self.reply(int(kind), [], f"<Error><Code>{ERRORS[kind]}</Code></Error>".encode())
        if kind == "slow":
            time.sleep(SLOW_S)
        if kind == "cut":
            return self.hang_up()
        backend = http.client.HTTPConnection(*self.backend, timeout=60)
        backend.request(self.command, self.path, body, dict(self.headers.items()))
        found = backend.getresponse()
        data = found.read()
        backend.close()
        if kind == "lose":
            return self.hang_up()
        if kind == "flip" and data:
            middle = len(data) // 2
            data = data[:middle] + bytes([data[middle] ^ 4]) + data[middle + 1 :]
        if kind == "shorten":
            data = data[: len(data) // 2]
        headers = [(name, value) for name, value in found.getheaders() if name.lower() not in HOP]
        return self.reply(found.status, headers, data)

    def body(self) -> bytes:
        """The body of a request, in one piece also where it comes in several."""
        if "chunked" not in (self.headers.get("Transfer-Encoding") or ""):
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        del self.headers["Transfer-Encoding"]
        body = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        self.headers["Content-Length"] = str(len(body))
        return body

    def fault(self) -> str:
        """What happens to this request."""
        with LOCK:
            if (
                FAULT["method"] not in ("*", self.command)
                or FAULT["match"] not in self.path
                or FAULT["done"] >= FAULT["times"]
            ):
                return "none"
            FAULT["done"] += 1
            return str(FAULT["kind"])

    def reply(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.send_response_only(status)
        for name, value in headers:
            self.send_header(name, value)
        if self.command != "HEAD":
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def hang_up(self) -> None:
        self.close_connection = True
        self.connection.close()

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = answer


SLOW_S = 2.0
ERRORS = {"403": "AccessDenied", "500": "InternalError", "503": "SlowDown"}
HOP = {"connection", "transfer-encoding", "content-length", "keep-alive"}


class Faults:
    """A running server of this kind, and what it does."""

    def __init__(self, port: int) -> None:
        self.endpoint = f"http://127.0.0.1:{port}"

    def set(self, kind: str, method: str = "GET", match: str = "", times: int = 1 << 30) -> None:
        """Let it do that from now on."""
        body = json.dumps({"kind": kind, "method": method, "match": match, "times": times}).encode()
        urllib.request.urlopen(urllib.request.Request(f"{self.endpoint}/fault", body, method="POST")).read()

    @property
    def done(self) -> int:
        """How many requests it has done that to."""
        found: dict[str, Any] = json.loads(urllib.request.urlopen(f"{self.endpoint}/fault").read())
        return int(found["done"])


def main() -> None:
    port, backend = int(sys.argv[1]), int(sys.argv[2])
    Handler.backend = ("127.0.0.1", backend)
    ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()


if __name__ == "__main__":
    main()
