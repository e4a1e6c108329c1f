"""A refusal as the pages' scripts read it (``Refused`` in static/api.js)."""

from __future__ import annotations

from typing import Any

from starlette.responses import JSONResponse


def refused(status: int, key: str, message: str, **more: Any) -> JSONResponse:
    """``key``: a stable name of the refusal, or the field of a form that is wrong; ``message``: for people."""
    return JSONResponse({"error": {"key": key, "message": message}, **more}, status)
