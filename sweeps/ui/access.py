"""Which requests are answered: those that name this server, come from its own pages, and belong to a session.

A web page of somebody else may make a browser send requests here: under a name that was made to mean this machine
(DNS rebinding), or with the browser's cookies (cross-site requests). ``Host``, ``Origin``, a ``SameSite=Strict`` cookie
and a header that only scripts of the same origin can set each refuse them.
"""

from __future__ import annotations

import ipaddress
import re
from html import escape
from urllib.parse import quote, urlsplit

from starlette.datastructures import Headers, MutableHeaders, QueryParams
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sweeps.serving.access import is_loopback
from sweeps.ui.headers import add_security_headers
from sweeps.ui.refusal import refused
from sweeps.ui.sessions import SESSION_SECONDS, Sessions
from sweeps.ui.settings import UiSettings

OWN_HEADER = "x-paretune"  # a form of another site can't send it, and a script of one is asked first
OPEN_PATHS = ("/sign-in", "/static/")  # what a person without a session needs to sign in
SAFE_METHODS = frozenset({"GET", "HEAD"})
HOST = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[\w.-]+)(?::[0-9]{1,5})?", re.ASCII)
EVERYWHERE = ("0.0.0.0", "::")  # listening everywhere is no name
MAX_STREAMS = 200  # open event streams of all browsers; each looks at a run every second or two


class Gate:
    """ASGI middleware in front of every route, the event streams included."""

    def __init__(self, app: ASGIApp, settings: UiSettings, sessions: Sessions) -> None:
        self._app, self._settings, self._sessions = app, settings, sessions
        self._streams = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":  # there are no websockets
            await send({"type": "websocket.close", "code": 1008})
            return
        response = self._refusal(Request(scope))
        sending = _with_security_headers(send)
        if response is not None or not scope["path"].endswith("/events"):
            await (response or self._app)(scope, receive, sending)
            return
        if self._streams >= MAX_STREAMS:
            message = f"{MAX_STREAMS} pages of this server are open, which is the most; close some"
            refusal = _error(503, "streams", message)
            refusal.headers["connection"] = "close"  # it must not hold one of the server's connections
            await refusal(scope, receive, sending)
            return
        self._streams += 1
        try:
            await self._app(scope, receive, sending)
        finally:
            self._streams -= 1

    def _refusal(self, request: Request) -> Response | None:
        """The answer to a request that goes no further; ``None`` for one that may be answered."""
        headers = request.headers
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not host_is_allowed(hosts[0], self._settings):
            message = (
                "this server is not known by the name in the request's Host header; add it: --allow-host NAME"
            )
            return _error(403, "host", message)
        if request.method not in SAFE_METHODS and not _is_own_request(headers, self._settings):
            return _error(403, "origin", "changes are accepted from the pages of this server alone")
        if headers.get("sec-fetch-site", "none") not in ("none", "same-origin") and _is_data(headers):
            return _error(403, "origin", "data are given to the pages of this server alone")
        token = QueryParams(request.scope["query_string"]).get("token")
        if token and _is_for_nobody(request):
            return Response(status_code=204)
        if token:
            return self._redeemed(request, token)
        path = _path(request.scope)
        if self._sessions.knows(request.cookies.get(cookie_name(self._settings))):
            return None
        if any(path.startswith(each) for each in OPEN_PATHS):
            return None
        if request.method in SAFE_METHODS and not _is_data(headers):
            if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
                return _opened_again(request, self._settings)
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


def _is_for_nobody(request: Request) -> bool:
    """Whether a browser or a chat only looks at a link before anybody opens it, which must not use it up."""
    purposes = (request.headers.get(name, "") for name in ("sec-purpose", "purpose", "x-moz"))
    return request.method != "GET" or any("prefetch" in each.lower() for each in purposes)


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
    if not HOST.fullmatch(host):
        return False
    name = _name(host)
    if is_loopback(host) or name in map(_name, settings.allowed_hosts):
        return True
    # Whoever listens everywhere has many addresses. No other site can have a browser name one of them.
    return _is_address(name) if settings.host in EVERYWHERE else name == settings.host.lower()


def _name(host: str) -> str:
    """A host without its port."""
    return (urlsplit(f"//{host}").hostname or "").rstrip(".")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _is_own_request(headers: Headers, settings: UiSettings) -> bool:
    """Whether a request that changes something comes from one of our pages, by what only a browser can say.

    A proxy may replace the host that a browser names, but not the origin: that may also be an allowed host, which has
    its port with it if that is not the usual one.
    """
    if OWN_HEADER not in headers or len(headers.getlist("origin")) > 1:
        return False
    if headers.get("sec-fetch-site", "same-origin") != "same-origin":
        return False
    origin = headers.get("origin")
    own = {each.lower() for each in (headers.get("host", ""), *settings.allowed_hosts)}
    return origin is None or _netloc(origin) in own


def _netloc(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc.lower() or None
    except ValueError:
        return None


def _opened_again(request: Request, settings: UiSettings) -> Response:
    """A page that opens the same address again, for somebody who came by a link from another site: the browser sends
    the session's cookie only with what our own pages ask for.
    """
    query = request.scope["query_string"].decode("latin-1")
    target = "/" + f"{settings.root_path}{_path(request.scope)}".lstrip("/\\")
    address = escape(quote(target) + (f"?{query}" if query else ""))
    return HTMLResponse(
        f'<!doctype html><meta http-equiv="refresh" content="0;url={address}"><title>Paretune</title>'
    )


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
    return refused(status, key, message)


def _with_security_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            add_security_headers(MutableHeaders(scope=message))
        await send(message)

    return sending
