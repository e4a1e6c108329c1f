"""Server-sent events (WHATWG HTML, section 9.2): everything on connect, and what has changed afterwards."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, suppress
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import StreamingResponse

SILENCE_SECONDS = 15.0  # after which a comment is sent, so that proxies keep the connection
# Nginx keeps what it is sent otherwise.
HEADERS = {"cache-control": "no-store", "x-accel-buffering": "no"}
_HALVES = re.compile("[\ud800-\udfff]")
Changes = Callable[[Any, Any], Any]  # of a former and a new state; None for nothing


def event(name: str, value: Any) -> str:
    """An event with a JSON value, which has no line breaks.

    >>> event("state", {"done": 3})
    'event: state\\ndata: {"done":3}\\n\\n'
    """
    try:
        text = _json(value)
    except ValueError:  # NaN or infinity
        text = _json(json.loads(json.dumps(value), parse_constant=lambda _: None))
    # Values are checked where they are read; a single half of a character that was missed must not end the stream.
    text = _HALVES.sub("\ufffd", text)
    return f"event: {name}\ndata: {text}\n\n"


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def event_stream(
    request: Request, state: Callable[[], Awaitable[Any]], seconds: float, changes: Changes | None = None
) -> StreamingResponse:
    """A stream that sends ``state()`` at once, and whenever another look, each ``seconds``, finds it changed.

    ``changes`` makes the event ``changes`` out of the former and the new state, in place of a whole new ``state``.
    """
    content = _until_refused(_events(request, state, seconds, changes))
    return StreamingResponse(content, media_type="text/event-stream", headers=HEADERS)


async def _until_refused(events: AsyncGenerator[str]) -> AsyncIterator[str]:
    """The events as long as their state can be read: an answer that has begun can't become a 404 or 503. The browser
    connects again, and gets it then.
    """
    async with aclosing(events):
        with suppress(HTTPException):
            async for each in events:
                yield each


async def _events(
    request: Request, state: Callable[[], Awaitable[Any]], seconds: float, changes: Changes | None
) -> AsyncGenerator[str]:
    last = await state()
    yield event("state", last)
    silent = 0.0
    while not await request.is_disconnected():
        await asyncio.sleep(seconds)
        silent += seconds
        new = await state()
        if new != last:
            change = changes(last, new) if changes else None
            if change is not None or changes is None:
                yield event("changes", change) if change is not None else event("state", new)
                silent = 0.0
            last = new
        if silent >= SILENCE_SECONDS:
            yield ": still here\n\n"
            silent = 0.0
