"""A refusal as the pages' scripts read it (``Refused`` in static/api.js)."""

from __future__ import annotations

from typing import Any

from starlette.responses import JSONResponse

from sweeps.ui.refusal_kinds import translations


def refused(status: int, key: str, message: str, **more: Any) -> JSONResponse:
    """``key``: a stable name of the refusal, or the field of a form that is wrong; ``message``: for people, which
    scripts show by its ``translations`` where it has one in their page's language.
    """
    error = {"key": key, "message": message, "translations": translations(message)}
    return JSONResponse({"error": error, **more}, status)
