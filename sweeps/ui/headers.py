"""The headers that every response has, and the content security policy of our pages."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.datastructures import MutableHeaders

# Plotly sets styles on elements, so styles may be inline; scripts may not.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "connect-src 'self'; font-src 'self'; frame-src 'self'; frame-ancestors 'self'; base-uri 'none'; form-action 'self'"
)
SECURITY_HEADERS = {
    b"content-security-policy": CONTENT_SECURITY_POLICY.encode(),
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
    b"cross-origin-opener-policy": b"same-origin",
    b"cross-origin-resource-policy": b"same-origin",
    b"x-frame-options": b"SAMEORIGIN",
    b"cache-control": b"no-store",
}


def add_security_headers(headers: MutableHeaders) -> None:
    """Adds the headers that a response doesn't have: a page may have a stricter policy of its own."""
    for name, value in SECURITY_HEADERS.items():
        headers.setdefault(name.decode(), value.decode())
