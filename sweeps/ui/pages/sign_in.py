"""Signing in: the page that people without a session see, links for further browsers, the language."""

from __future__ import annotations

from math import ceil

from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from sweeps.ui.access import cookie_name, set_session
from sweeps.ui.context import ui_of
from sweeps.ui.refusal import refused
from sweeps.ui.rendering import page, translator
from sweeps.ui.request_body import read_json
from sweeps.ui.sessions import TooManyKeysError
from sweeps.ui.translation import COOKIE, LANGUAGES

YEAR = 365 * 24 * 3600


def routes() -> list[Route]:
    return [
        Route("/sign-in", sign_in),
        Route("/sign-in/key", with_key, methods=["POST"]),
        Route("/sign-in/language", language, methods=["POST"]),
        Route("/sign-out", sign_out, methods=["POST"]),
        Route("/links", new_link, methods=["POST"]),
    ]


async def sign_in(request: Request) -> Response:
    """What to do without a session."""
    ui = ui_of(request)
    if ui.sessions.knows(request.cookies.get(cookie_name(ui.settings))):
        return RedirectResponse(f"{ui.settings.root_path}/", 303)
    title = translator(request)("common.sign_in")
    return page(request, "sign_in.html", title=title, active="sign_in", has_key=ui.settings.key is not None)


async def with_key(request: Request) -> Response:
    """Signs a browser in by the key that the UI was started with."""
    ui = ui_of(request)
    key = (await read_json(request, 4096)).get("key")
    t = translator(request)
    client = request.client.host if request.client is not None else ""
    try:
        session = ui.sessions.sign_in(key, client) if isinstance(key, str) else None
    except TooManyKeysError as error:
        refusal = refused(429, "many_wrong_keys", t("common.many_wrong_keys"))
        refusal.headers["retry-after"] = str(ceil(error.seconds))
        return refusal
    if session is None:
        return refused(403, "wrong_key", t("common.wrong_key"))
    response = JSONResponse({"ok": True})
    set_session(response, session, request, ui.settings)
    return response


async def language(request: Request) -> Response:
    """Keeps the chosen language in a cookie."""
    chosen = (await read_json(request, 4096)).get("language")
    response = JSONResponse({"ok": chosen in LANGUAGES}, 200 if chosen in LANGUAGES else 400)
    if chosen in LANGUAGES:
        path = ui_of(request).settings.root_path or "/"
        response.set_cookie(COOKIE, str(chosen), max_age=YEAR, path=path, samesite="strict")
    return response


async def sign_out(request: Request) -> Response:
    """Ends the session of this browser."""
    ui = ui_of(request)
    name = cookie_name(ui.settings)
    ui.sessions.sign_out(request.cookies.get(name, ""))
    response = JSONResponse({"ok": True})
    response.delete_cookie(name, path=ui.settings.root_path or "/")
    return response


async def new_link(request: Request) -> Response:
    """A one-time link that signs another browser in."""
    ui = ui_of(request)
    return JSONResponse({"path": f"{ui.settings.root_path}/?token={ui.sessions.new_link()}"})
