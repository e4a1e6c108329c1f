"""Server-sent events."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request

from sweeps.ui.event_stream import event_stream


def streamed(states: list[Any]) -> list[Any]:
    """What a stream sends of these states; where they end, what they are about is gone."""
    left = iter(states)

    async def state() -> Any:
        for each in left:
            return each
        raise HTTPException(404, "the trial is gone")

    async def receive() -> Any:
        await asyncio.sleep(60)

    async def read() -> list[Any]:
        request = Request({"type": "http", "headers": []}, receive)
        return [each async for each in event_stream(request, state, 0.0).body_iterator]

    return asyncio.run(read())


def test_a_stream_ends_where_what_it_is_about_is_gone() -> None:
    assert streamed([1, 1, 2]) == ["event: state\ndata: 1\n\n", "event: state\ndata: 2\n\n"]
    assert streamed([]) == []
