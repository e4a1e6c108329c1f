"""Chromium on a UI that the test serves. A test fails where a script of a page fails or a dialog opens."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from sweeps.ui.snapshots.computed import ComputedValues
from tests.helpers.chromium import launched
from tests.helpers.ui_server import served
from tests.sweeps.ui.conftest import UiUnderTest

QUIET_LOOKS = 6  # in a row, 50 ms apart
WAIT_MS = 180_000  # for anything that will come: on a machine that does other work, it comes late


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """Chromium without a window."""
    with launched() as browser:
        yield browser


@dataclass
class Window:
    """A browser that is signed in. ``faults``: errors of scripts, refused resources, dialogs that nobody asked for."""

    page: Any
    url: str
    faults: list[str] = field(default_factory=list)
    waiting: set[Any] = field(default_factory=set)  # requests without an answer, event streams left out

    def open(self, path: str) -> Any:
        self.page.goto(self.url + path)
        self.page.wait_for_load_state("load")
        return self.page

    def settle(self) -> None:
        """Waits until nothing that the page asks for is under way, and what has come is drawn."""
        quiet = 0
        while quiet < QUIET_LOOKS:
            self.page.wait_for_timeout(50)
            quiet = 0 if self.waiting else quiet + 1

    def check(self) -> None:
        assert not self.faults, self.faults
        assert self.page.evaluate("window.attacked") is None


NewWindow = Callable[..., Window]


@pytest.fixture
def new_window(chromium: Any, ui: UiUnderTest) -> Iterator[NewWindow]:
    """Opens browsers, each with its own session, on the UI of the test; keyword arguments are those of a context."""
    contexts = list[Any]()
    with served(ui.state) as url:

        def make(language: str = "en", address: str = url, **options: Any) -> Window:
            context = chromium.new_context(
                locale={"en": "en-GB", "zh": "zh-CN"}[language],
                **{"viewport": {"width": 1280, "height": 900}} | options,
            )
            context.set_default_timeout(WAIT_MS)
            contexts.append(context)
            window = Window(context.new_page(), address)
            watch(window)
            window.open(f"/?token={ui.state.sessions.new_link()}")
            return window

        yield make
        for context in contexts:
            context.close()


@pytest.fixture
def browser_page(new_window: NewWindow) -> Iterator[Window]:
    """One browser; the test fails where a script of a page has failed."""
    window = new_window()
    yield window
    window.check()


@pytest.fixture
def without_answers(ui: UiUnderTest, monkeypatch: pytest.MonkeyPatch) -> None:
    """No report is computed for pages of runs: a process of some seconds for each, which few tests look at."""

    async def nothing(_followed: Any) -> None:
        return None

    monkeypatch.setattr(ui.state.snapshots, "answers", ComputedValues(nothing, lambda _: 0, lambda _: None))


def answered(page: Any, path: str, value: Any) -> None:
    """Answers a request of a page's script in place of a command that takes long."""
    page.route(re.compile(path), lambda route: route.fulfill(json=value))


def watch(window: Window) -> None:
    """Keeps what goes wrong in a page."""
    page, faults, waiting = window.page, window.faults, window.waiting

    def console(message: Any) -> None:
        # An address that is not there is said by the test itself where it matters.
        if message.type in ("error", "warning") and not re.search(r"status of (?:404|503)", message.text):
            faults.append(f"console: {message.text}")

    def dialog(asked: Any) -> None:
        faults.append(f"dialog: {asked.message}")
        asked.dismiss()

    page.on("console", console)
    page.on("request", lambda asked: asked.resource_type != "eventsource" and waiting.add(asked))
    page.on("requestfinished", lambda asked: waiting.discard(asked))
    page.on("requestfailed", lambda asked: waiting.discard(asked))
    page.on("pageerror", lambda error: faults.append(f"error: {error}"))
    page.on("dialog", dialog)
    page.on(
        "response",
        lambda answer: faults.append(f"{answer.status} {answer.url}") if answer.status >= 500 else None,
    )
