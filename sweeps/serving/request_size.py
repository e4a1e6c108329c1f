"""Limits the size of requests by the bytes that arrive: a request sent in chunks doesn't say its size beforehand."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]


class LimitedBody:
    """An ASGI application that reads at most ``limit`` bytes of a request before it passes it on to ``app``.

    ``refuse`` is the application that answers in its place a request with more.
    """

    def __init__(self, app: Application, limit: int, refuse: Application) -> None:
        self.app, self.limit, self.refuse = app, limit, refuse

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        too_large = declared.isdigit() and int(declared) > self.limit
        messages, size, more = list[Message](), 0, True
        while more and not too_large:
            messages.append(await receive())
            more = messages[-1].get("more_body", False)
            size += len(messages[-1].get("body", b""))
            too_large = size > self.limit
        if too_large:
            await self.refuse(scope, receive, send)
            return
        read = iter(messages)

        async def receive_again() -> Message:
            message = next(read, None)
            return await receive() if message is None else message

        await self.app(scope, receive_again, send)
