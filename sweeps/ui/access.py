"""Which requests are answered: those that name this server, come from its own pages, and belong to a session.

A web page of somebody else may make a browser send requests here: under a name that was made to mean this machine
(DNS rebinding), or with the browser's cookies (cross-site requests). ``Host``, ``Origin``, a ``SameSite=Strict`` cookie
and a header that only scripts of the same origin can set each refuse them.
"""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers, QueryParams
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sweeps.serving.access import is_loopback
from sweeps.ui.headers import SECURITY_HEADERS
from sweeps.ui.sessions import SESSION_SECONDS, Sessions
from sweeps.ui.settings import UiSettings

OWN_HEADER = "x-paretune"  # a form of another site can't send it, and a script of one is asked first
OPEN_PATHS = ("/sign-in", "/static/")  # what a person without a session needs to sign in
SAFE_METHODS = frozenset({"GET", "HEAD"})


class Gate:
    """ASGI middleware in front of every route, the event streams included."""

    def __init__(self, app: ASGIApp, settings: UiSettings, sessions: Sessions) -> None:
        self._app, self._settings, self._sessions = app, settings, sessions

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":  # there are no websockets
            await send({"type": "websocket.close", "code": 1008})
            return
        response = self._refusal(Request(scope))
        await (response or self._app)(scope, receive, _with_security_headers(send))

    def _refusal(self, request: Request) -> Response | None:
        """The answer to a request that goes no further; ``None`` for one that may be answered."""
        headers = request.headers
        if not host_is_allowed(headers.get("host", ""), self._settings):
            return _error(403, "host", "this server is not known under the name in the request's Host header")
        if request.method not in SAFE_METHODS and not _is_own_request(headers):
            return _error(403, "origin", "changes are accepted from the pages of this server alone")
        if "sec-fetch-site" in headers and headers["sec-fetch-site"] == "cross-site" and _is_data(headers):
            return _error(403, "origin", "data are given to the pages of this server alone")
        if token := QueryParams(request.scope["query_string"]).get("token"):
            return self._redeemed(request, token)
        path = _path(request.scope)
        if self._sessions.knows(request.cookies.get(cookie_name(self._settings))):
            return None
        if any(path.startswith(each) for each in OPEN_PATHS):
            return None
        if request.method in SAFE_METHODS and not _is_data(headers):
            return RedirectResponse(f"{self._settings.root_path}/sign-in", 303)
        return _error(401, "session", "sign in: open the link that `paretune ui` printed")

    def _redeemed(self, request: Request, token: str) -> Response:
        """The page without the token in its address, with the session's cookie if the token is right."""
        target = f"{self._settings.root_path}{_path(request.scope)}"
        # Two slashes at the beginning would be another server's address.
        response = RedirectResponse("/" + target.lstrip("/\\"), 303)
        if (session := self._sessions.redeem(token)) is not None:
            set_session(response, session, request, self._settings)
        return response


def set_session(response: Response, session: str, request: Request, settings: UiSettings) -> None:
    """Puts a session into a response's cookie, which scripts can't read and other sites' requests don't carry."""
    secure = request.headers.get("x-forwarded-proto", request.url.scheme) == "https"
    response.set_cookie(
        cookie_name(settings),
        session,
        max_age=int(SESSION_SECONDS),
        path=settings.root_path or "/",
        httponly=True,
        samesite="strict",
        secure=secure,
    )


def cookie_name(settings: UiSettings) -> str:
    """Cookies don't know ports: two UIs of one machine have each its own."""
    return f"paretune-{settings.port}"


def host_is_allowed(host: str, settings: UiSettings) -> bool:
    """Whether a ``Host`` header names this server.

    >>> from pathlib import Path
    >>> settings = UiSettings((), Path(), allowed_hosts=("gpu.example",))
    >>> [host_is_allowed(host, settings) for host in ("localhost:7860", "gpu.example", "evil.example", "")]
    [True, True, False, False]
    """
    try:
        name = (urlsplit(f"//{host}").hostname or "").rstrip(".")
    except ValueError:
        return False
    return is_loopback(host) or name in {
        each.lower() for each in (settings.host, *settings.allowed_hosts)
    } - {
        "0.0.0.0",  # noqa: S104  listening everywhere is no name
        "::",
    }


def _is_own_request(headers: Headers) -> bool:
    """Whether a request that changes something comes from one of our pages, by what only a browser can say."""
    if OWN_HEADER not in headers:
        return False
    if headers.get("sec-fetch-site", "same-origin") != "same-origin":
        return False
    origin = headers.get("origin")
    return origin is None or urlsplit(origin).netloc.lower() == headers.get("host", "").lower()


def _is_data(headers: Headers) -> bool:
    """Whether a script asks, and not a person who opens a page."""
    return headers.get("sec-fetch-mode", "navigate") != "navigate" or "text/html" not in headers.get(
        "accept", "text/html"
    )


def _path(scope: Scope) -> str:
    path: str = scope["path"]
    root: str = scope.get("root_path", "")
    return path[len(root) :] if root and path.startswith(root) else path


def _error(status: int, key: str, message: str) -> Response:
    return JSONResponse({"error": {"key": key, "message": message}}, status)


def _with_security_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", ()), *_missing(message)]
        await send(message)

    return sending


def _missing(message: Message) -> Iterable[tuple[bytes, bytes]]:
    """The security headers that a response doesn't have: a page may have a stricter policy of its own."""
    present = {name.lower() for name, _ in message.get("headers", ())}
    return [(name, value) for name, value in SECURITY_HEADERS.items() if name not in present]
