"""Every address that a UI answers, for tests of what holds of all of them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from starlette.applications import Starlette
from starlette.routing import Mount, Route

HTML = {"accept": "text/html"}
KEY = "f" * 12  # stands in each place of an address
OPEN = {"/sign-in", "/sign-in/key", "/sign-in/language"}  # what signing in needs
# Streams, which do not end, and what `paretune doctor` says, which takes its time.
UNASKED = ("/events", "/new/unavailable")


def routes(app: Any) -> Iterator[tuple[str, str]]:
    """Every method with every address, with something in each place of it."""
    assert isinstance(app, Starlette)
    for route in app.routes:
        if isinstance(route, Mount):
            continue
        assert isinstance(route, Route)
        path = re.sub(r"\{[^}]*\}", KEY, route.path)
        for method in sorted(route.methods or ()):
            yield method, path


def private_routes(app: Any) -> list[tuple[str, str]]:
    """The same without those that signing in needs."""
    found = [(m, path) for m, path in routes(app) if path not in OPEN and not path.startswith("/static/")]
    assert len(found) > 20
    return found
