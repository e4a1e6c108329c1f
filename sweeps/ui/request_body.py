"""The body of a request, read up to a limit."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request

JSON_LIMIT = 4 * 2**20  # bytes
BODY_SECONDS = 60.0  # for a body that is kept in memory; between two parts of one that is written to a file
TOO_SLOW = "the request's body did not come in time"


async def read_limited(request: Request, limit: int) -> bytes:
    """The body of a request of at most ``limit`` bytes. Raises ``HTTPException`` 413 once more has come, 408
    if it comes too slowly.
    """
    parts, size = list[bytes](), 0
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for part in request.stream():
                size += len(part)
                if size > limit:
                    raise HTTPException(413, f"the upload has more than {limit} bytes, which is the limit")
                parts.append(part)
    except TimeoutError:
        raise HTTPException(408, TOO_SLOW) from None
    return b"".join(parts)


async def parts_of(request: Request) -> AsyncIterator[bytes]:
    """The parts of a body as they come. Raises ``HTTPException`` 408 where none comes for a while."""
    stream = request.stream()
    while True:
        try:
            async with asyncio.timeout(BODY_SECONDS):
                part = await anext(stream, None)
        except TimeoutError:
            raise HTTPException(408, TOO_SLOW) from None
        if part is None:
            return
        yield part


async def read_json(request: Request, limit: int = JSON_LIMIT) -> dict[str, Any]:
    """The JSON object in a request's body. Raises ``HTTPException`` 400 or 413 in words."""
    content = await read_limited(request, limit)
    try:
        value = json.loads(content or b"{}")
    except (ValueError, RecursionError):
        raise HTTPException(400, "the request's body is not JSON") from None
    if not isinstance(value, dict):
        raise HTTPException(400, "the request's body is not a JSON object")
    return value
