"""Pages from templates: escaped, in the reader's language, with addresses that hold behind a proxy's path."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import cache
from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse

from sweeps.ui.translation import COOKIE, LANGUAGES, Translator, chosen_language
from trainables.system.shown_text import shown


def page(
    request: Request,
    template: str,
    *,
    title: str,
    active: str | None = None,
    words: Sequence[str] = (),
    status: int = 200,
    **values: Any,
) -> HTMLResponse:
    """A page. ``active``: the entry of the navigation that it belongs to. ``words``: areas that its scripts need."""
    t = translator(request)
    root = request.app.state.ui.settings.root_path
    content = environment().get_template(template).render(
        t=t,
        title=title,
        active=active,
        language=t.language,
        languages=LANGUAGES,
        path=request.url.path,
        root_path=root,
        href=lambda path: f"{root}{path}",
        static=lambda name: f"{root}/static/{name}?v={_version()}",
        page_words=json_block({"root_path": root, "language": t.language, "words": t.areas(words)}),
        **values,
    )  # fmt: skip
    return HTMLResponse(content, status)


def translator(request: Request) -> Translator:
    """The words in the language of the person who asks."""
    cookie = request.cookies.get(COOKIE)
    return Translator(chosen_language(cookie, request.headers.get("accept-language", "")))


def json_block(value: Any) -> Markup:
    """JSON for a ``<script type="application/json">``, in which nothing can end the element."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    for character, escape in (("<", "\\u003c"), (">", "\\u003e"), ("&", "\\u0026")):
        text = text.replace(character, escape)
    return Markup(text)  # everything that HTML reads is escaped above


@cache
def environment() -> Environment:
    """The templates. Every value is escaped, and control characters in it are shown."""
    made = Environment(
        loader=PackageLoader("sweeps.ui"),
        autoescape=True,
        finalize=lambda value: type(value)(shown(value)) if isinstance(value, str) else value,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["json_block"] = json_block
    return made


@cache
def _version() -> str:
    """Changes with any script or style sheet, so that no browser keeps those of an earlier version."""
    digest = hashlib.sha256()
    for file in sorted((resources.files("sweeps.ui") / "static").iterdir(), key=lambda each: each.name):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:12]
