"""Requests that come slowly or too many at once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.exceptions import HTTPException
from starlette.requests import Request

from sweeps.ui import request_body
from sweeps.ui.server import MAX_CONNECTIONS, new_server
from tests.sweeps.ui.conftest import UiUnderTest


def slow_request() -> Request:
    """A request of which one part comes, and the rest never."""
    parts = [{"type": "http.request", "body": b"{", "more_body": True}]

    async def receive() -> Any:
        return parts.pop() if parts else await asyncio.sleep(60)

    return Request({"type": "http", "method": "POST", "headers": []}, receive)


def test_a_body_that_never_ends_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_body, "BODY_SECONDS", 0.05)

    async def parts() -> list[bytes]:
        return [part async for part in request_body.parts_of(slow_request())]

    for reading in (request_body.read_json(slow_request()), parts()):
        with pytest.raises(HTTPException) as refused:
            asyncio.run(reading)  # type: ignore[arg-type]
        assert refused.value.status_code == 408


def test_connections_are_limited(ui: UiUnderTest) -> None:
    assert new_server(ui.state, lambda: None).config.limit_concurrency == MAX_CONNECTIONS
