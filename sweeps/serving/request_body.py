"""Reads the body of a request: limited by the bytes that arrive, and parsed outside the event loop."""

from __future__ import annotations

import asyncio
from typing import TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails
from starlette.requests import ClientDisconnect, Request

from sweeps.serving.api_error import ApiError
from sweeps.serving.neutral_fields import refusal
from sweeps.serving.openai_api import ChatRequest, CompletionRequest
from sweeps.serving.proxy_limits import MAX_REQUEST_BYTES, TOO_LARGE

RequestType = TypeVar("RequestType", ChatRequest, CompletionRequest)


async def read_body(request: Request, kind: type[RequestType]) -> RequestType:
    """The request's body. Raises :class:`ApiError` where it is too large or not valid."""
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    # A web page of somebody else may send other types without asking the server first.
    if content_type != "application/json":
        raise ApiError("the body of a request is JSON, with the header Content-Type: application/json", 415)
    body = bytearray()
    try:
        async for part in request.stream():
            body += part
            if len(body) > MAX_REQUEST_BYTES:
                raise TOO_LARGE
    except ClientDisconnect:
        # Nobody reads this; without it, each such request would put a stack trace into the log.
        raise ApiError("the client left before its request was complete", 400) from None
    try:
        # A few million token ids take seconds.
        return await asyncio.to_thread(kind.model_validate_json, bytes(body))
    except ValidationError as error:
        raise _invalid(error.errors(include_url=False)[0], kind) from None


def _invalid(problem: ErrorDetails, kind: type[ChatRequest] | type[CompletionRequest]) -> ApiError:
    param = ".".join(map(str, problem["loc"])) or None
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "extra_forbidden":
        message = refusal(str(problem["loc"][-1]), kind.neutral)
    return ApiError(f"{param}: {message}" if param else message, param=param)
