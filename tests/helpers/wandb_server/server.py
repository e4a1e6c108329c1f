"""A stand-in for W&B's server on loopback: GraphQL, streams of files, and storage, which keep what clients send.

with running() as server:
    ...                               # clients of this process and of its children use it
    server.store.runs_of("paretune")
"""

from __future__ import annotations

import gzip
import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import md5
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

from tests.helpers.wandb_server import graphql
from tests.helpers.wandb_server.mutations import Mutations
from tests.helpers.wandb_server.queries import Queries
from tests.helpers.wandb_server.store import Store

KEY = "0" * 40


class Server:
    """A running server. ``failing`` names GraphQL operations that are answered by an error."""

    def __init__(self) -> None:
        self.store = Store()
        self.failing: set[str] = set()
        self.lock = threading.Lock()
        handler = type("Handler", (_Handler,), {"server_state": self})
        self.http = _QuietServer(("127.0.0.1", 0), handler)
        self.address = f"http://127.0.0.1:{self.http.server_port}"
        queries = Queries(self.store, self.address)
        self.roots = {"query": queries, "mutation": Mutations(self.store, queries, self.address)}

    @property
    def environment(self) -> dict[str, str]:
        """The variables with which W&B's clients use this server."""
        return {"WANDB_BASE_URL": self.address, "WANDB_API_KEY": KEY}

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """The response to a GraphQL request."""
        name = graphql.operation_name(request["query"])
        with self.lock:
            self.store.operations.append(name)
            try:
                if name in self.failing:
                    raise LookupError(f"{name} fails")
                return {"data": graphql.execute(request["query"], request.get("variables") or {}, self.roots)}
            except Exception as error:
                return {"data": None, "errors": [{"message": f"{type(error).__name__}: {error}"}]}

    def stream(self, path: list[str], body: dict[str, Any]) -> None:
        """Takes lines of a run's streamed files."""
        entity, project, name = path
        with self.lock:
            run = self.store.run(entity, project, name)
            if run is None:
                return
            for file, chunk in (body.get("files") or {}).items():
                run.stream(file, chunk["offset"], chunk["content"])
            if body.get("complete"):
                run.exit_code = body.get("exitcode")

    def upload(self, path: str, content: bytes) -> None:
        """Takes a file."""
        with self.lock:
            self.store.uploads[path] = content
            kind, *rest = path.split("/")
            if kind == "runs" and (run := self.store.run(*rest[:3])) is not None:
                run.files["/".join(rest[3:])] = content

    def download(self, path: str) -> bytes | None:
        """The content of a file: by its place in the storage, or of an artifact by its MD5."""
        kind, *parts = path.strip("/").split("/")
        if kind == "storage":
            return self.store.uploads.get("/".join(parts))
        # artifactsV2/REGION/ENTITY/PROJECT/ARTIFACT/ID/MD5/NAME
        digest = parts[5] if kind == "artifactsV2" and len(parts) > 5 else None
        contents = self.store.uploads.values()
        return next((each for each in contents if md5(each).hexdigest() == digest), None)


class _QuietServer(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Says nothing of clients that end a connection, as W&B's processes do when they are done."""


class _Handler(BaseHTTPRequestHandler):
    server_state: Server
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        path, body = unquote(urlsplit(self.path).path), json.loads(self._body() or b"{}")
        if path == "/graphql":
            return self._send(json.dumps(self.server_state.answer(body)).encode())
        if path.startswith("/files/") and path.endswith("/file_stream"):
            self.server_state.stream(path.removeprefix("/files/").split("/")[:3], body)
            return self._send(b'{"limits": {}}')
        return self._send(b"{}", 404)

    def do_PUT(self) -> None:
        self.server_state.upload(unquote(urlsplit(self.path).path).removeprefix("/storage/"), self._body())
        self._send(b"")

    def do_GET(self) -> None:
        content = self.server_state.download(unquote(urlsplit(self.path).path))
        self._send(b"" if content is None else content, 404 if content is None else 200)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            parts = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            body = b"".join(parts)
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        return gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body

    def _send(self, content: bytes, code: int = 200) -> None:
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Says nothing: requests are in the store."""


@contextmanager
def running() -> Iterator[Server]:
    """Runs a server; within the block, W&B's clients of this process and its children use it."""
    server = Server()
    threading.Thread(target=server.http.serve_forever, daemon=True).start()
    previous = {name: os.environ.get(name) for name in server.environment}
    os.environ.update(server.environment)
    try:
        yield server
    finally:
        server.http.shutdown()
        server.http.server_close()
        for name, value in previous.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
