"""A proxy that shows a server under a path of its own, which it takes away from requests, as nginx does."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

SINGLE = ("connection", "transfer-encoding", "content-length", "keep-alive")


@contextmanager
def proxied(url: str, path: str) -> Iterator[str]:
    """The address, ``path`` included, under which the proxy shows ``url``."""
    target = urlsplit(url)

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

        def pass_on(self) -> None:
            if not self.path.startswith((f"{path}/", f"{path}?")):
                self.send_error(404)
                return
            connection = HTTPConnection(target.hostname or "", target.port, timeout=60)
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            headers = {name: value for name, value in self.headers.items() if name.lower() not in SINGLE}
            connection.request(self.command, self.path[len(path) :], body, headers)
            answer = connection.getresponse()
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in SINGLE:
                    self.send_header(name, value)
            self.send_header("connection", "close")
            self.end_headers()
            with suppress(OSError):
                while part := answer.read1(65536):
                    self.wfile.write(part)
                    self.wfile.flush()
            connection.close()

        do_GET = do_POST = do_DELETE = pass_on  # noqa: N815

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}{path}"
    finally:
        server.shutdown()
        server.server_close()
