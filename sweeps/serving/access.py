"""Who is answered: clients with the right API key and, without a key, those that name this machine itself."""

from __future__ import annotations

import hmac
import ipaddress
from dataclasses import dataclass

from starlette.requests import Request

from sweeps.serving.api_error import ApiError


@dataclass(frozen=True)
class Access:
    """The ``key`` that requests must have; ``None`` answers everybody.

    ``loopback_names_only`` refuses requests to other host names: a web page whose name was made to mean this machine
    would send one (DNS rebinding), and its browser would take the answer for the page's own.
    """

    key: str | None = None
    loopback_names_only: bool = False

    def check(self, request: Request) -> None:
        """Raises :class:`ApiError` for a request that may not be answered. Reads nothing of its body."""
        if self.loopback_names_only and not is_loopback(request.headers.get("host", "")):
            message = (
                "requests to this server name it localhost or 127.0.0.1; others need it to have an API key"
            )
            raise ApiError(message, 403, "permission_error")
        if self.key is None:
            return
        # Starlette decodes headers as Latin-1, so that this gives the bytes which the client sent.
        scheme, _, key = request.headers.get("authorization", "").encode("latin-1").partition(b" ")
        given = key.strip() if scheme.lower() == b"bearer" else b""
        # In constant time, so that response times tell nothing about the key.
        if not hmac.compare_digest(given, self.key.encode()):
            message = "the API key is wrong" if given else "give the API key: Authorization: Bearer KEY"
            raise ApiError(message, 401, "authentication_error", code="invalid_api_key")


def is_loopback(host: str) -> bool:
    """Whether a ``Host`` header, with a port or without, names this machine by its loopback interface.

    >>> [is_loopback(host) for host in ("localhost:8000", "127.0.0.1", "[::1]:80", "evil.example", "")]
    [True, True, True, False, False]
    """
    name = host.partition("]")[0].removeprefix("[") if host.startswith("[") else host.partition(":")[0]
    if name.lower().rstrip(".") == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
