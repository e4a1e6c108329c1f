"""The body of a request, read up to a limit."""

from __future__ import annotations

import json
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request

JSON_LIMIT = 4 * 2**20  # bytes


async def read_limited(request: Request, limit: int) -> bytes:
    """The body of a request of at most ``limit`` bytes. Raises ``HTTPException`` 413 once more has come."""
    parts, size = list[bytes](), 0
    async for part in request.stream():
        size += len(part)
        if size > limit:
            raise HTTPException(413, f"the upload has more than {limit} bytes, which is the limit")
        parts.append(part)
    return b"".join(parts)


async def read_json(request: Request, limit: int = JSON_LIMIT) -> dict[str, Any]:
    """The JSON object in a request's body. Raises ``HTTPException`` 400 or 413 in words."""
    content = await read_limited(request, limit)
    try:
        value = json.loads(content or b"{}")
    except (ValueError, RecursionError):
        raise HTTPException(400, "the request's body is no JSON") from None
    if not isinstance(value, dict):
        raise HTTPException(400, "the request's body is no JSON object")
    return value
