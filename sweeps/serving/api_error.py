"""Errors of the API. Without torch, which the HTTP proxy does not load."""

from __future__ import annotations


class ApiError(Exception):
    """An error in OpenAI's format. ``param`` names the field of the request; ``code`` is for programs."""

    def __init__(
        self,
        message: str,
        status: int = 400,
        kind: str = "invalid_request_error",
        param: str | None = None,
        code: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"error": {"message": message, "type": kind, "param": param, "code": code}}
