"""Reads the body of a request: limited by the bytes and values in it, and parsed outside the event loop."""

from __future__ import annotations

import asyncio
import re
from typing import TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails
from starlette.requests import ClientDisconnect, Request

from sweeps.serving.api_error import ApiError
from sweeps.serving.classification import ClassifyRequest
from sweeps.serving.neutral_fields import refusal
from sweeps.serving.openai_api import ChatRequest, CompletionRequest
from sweeps.serving.proxy_limits import MAX_REQUEST_BYTES, TOO_LARGE

# Of JSON in a request. A parser doesn't let other threads run until it has read all of them, a million in 0.8 s.
MAX_VALUES = 2**18
TOO_MANY = ApiError(
    f"a request has at most {MAX_VALUES} values (texts, numbers, lists and fields); send it in parts", 413
)
# Up to the quote that ends it, or the end of the text, so that each byte is looked at once.
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)
_BEFORE_VALUES = (b",", b"[", b"{", b":")

RequestType = TypeVar("RequestType", ChatRequest, CompletionRequest, ClassifyRequest)


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
    return await asyncio.to_thread(_parsed, bytes(body), kind)


def _parsed(body: bytes, kind: type[RequestType]) -> RequestType:
    if has_too_many_values(body):
        raise TOO_MANY
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        raise _invalid(error.errors(include_url=False, include_input=False)[0], kind) from None


def has_too_many_values(body: bytes) -> bool:
    """Whether a text of JSON has more than :data:`MAX_VALUES` values. It is looked at string by string, so that other
    threads run meanwhile.

    >>> has_too_many_values(b'["a,b"' + b", 1" * MAX_VALUES + b"]"), has_too_many_values(b'[",,,,,"]')
    (True, False)
    """
    if _values(body, 0, len(body)) <= MAX_VALUES:
        return False  # even if all of them were outside of strings
    count, end = 0, 0
    for string in _STRING.finditer(body):
        count += _values(body, end, string.start())
        end = string.end()
        if count > MAX_VALUES:
            return True
    return count + _values(body, end, len(body)) > MAX_VALUES


def _values(body: bytes, start: int, end: int) -> int:
    return sum(body.count(mark, start, end) for mark in _BEFORE_VALUES)


def _invalid(
    problem: ErrorDetails, kind: type[ChatRequest] | type[CompletionRequest] | type[ClassifyRequest]
) -> ApiError:
    param = ".".join(map(str, problem["loc"])) or None
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "extra_forbidden":
        message = refusal(str(problem["loc"][-1]), kind.neutral)
    return ApiError(f"{param}: {message}" if param else message, param=param)
