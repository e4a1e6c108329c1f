"""Limits that Ray Serve's HTTP proxy enforces before anything of a request is kept: on bytes, time and connections.

The proxy reads a request's body ahead of the replica that answers it, and Ray Serve itself limits neither.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from starlette.middleware import Middleware
from uvicorn.protocols.http import auto
from uvicorn.protocols.http.auto import AutoHTTPProtocol

from sweeps.serving.api_error import ApiError

MAX_REQUEST_BYTES = 4 * 2**20
MAX_HEADER_BYTES = 64 * 2**10
# With what chunks add around a body: their sizes, their extensions, and the headers after the last one.
MAX_SENT_BYTES = 2 * MAX_REQUEST_BYTES
HEADER_SECONDS = 10.0  # for the headers of a request
BODY_SECONDS = 60.0  # for the whole body of a request
MAX_CONNECTIONS = 512
# What Ray Serve's proxy calls when it starts.
CALLBACK = {"RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": f"{__name__}.install"}

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

TOO_LARGE = ApiError(f"a request has at most {MAX_REQUEST_BYTES} bytes", 413)
TOO_SLOW = ApiError(f"a request is sent within {BODY_SECONDS:g} seconds", 408)


def install() -> list[Middleware]:
    """Called in the proxy's process before it listens: limits its connections, and gives what limits its requests."""
    vars(auto)["AutoHTTPProtocol"] = LimitedConnection
    return [Middleware(LimitedBody)]


class LimitedBody:
    """An ASGI application that passes requests on to ``app`` and answers those itself that are too large or too slow.

    Bytes are counted as they arrive, because a request that is sent in chunks doesn't say its size beforehand. To
    ``app``, a request that was refused is one whose client has gone.
    """

    def __init__(
        self, app: Application, limit: int = MAX_REQUEST_BYTES, seconds: float = BODY_SECONDS
    ) -> None:
        self.app, self.limit, self.seconds = app, limit, seconds

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if declared.isdigit() and int(declared) > self.limit:
            await _refuse(TOO_LARGE, send)
            return
        size, complete, answering, refused = 0, False, False, False
        end = asyncio.get_running_loop().time() + self.seconds

        async def receive_limited() -> Message:
            nonlocal size, complete, refused
            if complete:  # what follows is that the client leaves, whenever that is
                return await receive()
            try:
                async with asyncio.timeout_at(end):
                    message = await receive()
            except TimeoutError:
                return await gone(TOO_SLOW)
            size += len(message.get("body", b""))
            complete = not message.get("more_body", False)
            return await gone(TOO_LARGE) if size > self.limit else message

        async def gone(error: ApiError) -> Message:
            nonlocal refused
            if not answering and not refused:
                refused = True
                await _refuse(error, send)
            return {"type": "http.disconnect"}

        async def send_unless_refused(message: Message) -> None:
            nonlocal answering
            if not refused:
                answering = True
                await send(message if complete else _closing(message))

        await self.app(scope, receive_limited, send_unless_refused)


def _closing(message: Message) -> Message:
    """The message; as the start of a response, one after which the connection is closed, so that the rest of a body
    that nobody needs isn't read.
    """
    if message["type"] != "http.response.start":
        return message
    return {**message, "headers": [*message.get("headers", []), (b"connection", b"close")]}


async def _refuse(error: ApiError, send: Send) -> None:
    headers = [(b"content-type", b"application/json")]
    await send(_closing({"type": "http.response.start", "status": error.status, "headers": headers}))
    await send({"type": "http.response.body", "body": json.dumps(error.body).encode()})


class LimitedConnection(AutoHTTPProtocol):  # type: ignore[misc, valid-type]  # one of two classes, by what is installed
    """A connection that is closed unless the headers of its requests arrive in time and are of a usual size, and if a
    request goes on for more than :data:`MAX_SENT_BYTES`, whatever it consists of.

    Of further connections than :data:`MAX_CONNECTIONS`, requests are answered with status 503.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        self.limit_concurrency = MAX_CONNECTIONS
        self._in_headers = False
        self._counted: Any = None  # the request that the sent bytes are counted of
        self._sent_bytes = 0
        self._expect_headers()

    # httptools calls the next three; h11 limits by itself what follows a body.
    def on_message_begin(self) -> None:
        self._in_headers = True
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_headers:  # others follow a body (trailers), which nothing here reads, and would be kept
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._in_headers = False
        super().on_headers_complete()

    def _expect_headers(self) -> None:
        self._header_bytes = 0
        self._timer: asyncio.TimerHandle | None = self.loop.call_later(HEADER_SECONDS, self.transport.close)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if (
            self.cycle is not None and not self.cycle.response_complete
        ):  # the headers of a request are complete
            self._stop_timer()
            self._count(len(data))
            return
        if self._timer is None:  # the first bytes of a connection's next request
            self._expect_headers()
        self._header_bytes += len(data)
        if self._header_bytes > MAX_HEADER_BYTES:
            self.transport.close()

    def _count(self, sent: int) -> None:
        """Counts what was sent of the request that is being answered."""
        if self._counted is not self.cycle:
            self._counted, self._sent_bytes = self.cycle, 0
        self._sent_bytes += sent
        if self._sent_bytes > MAX_SENT_BYTES:
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
