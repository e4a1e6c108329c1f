"""A UI on folders of its own, asked without a network or served on loopback."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from sweeps.cli import app as commands
from sweeps.ui.access import cookie_name
from sweeps.ui.context import Ui
from sweeps.ui.server import application
from sweeps.ui.settings import UiSettings
from sweeps.ui.start import new_ui
from tests.helpers.ui_processes import Start, starting

OWN = {"X-Paretune": "1"}


@dataclass
class UiUnderTest:
    """``client`` is signed in, ``stranger`` isn't; ``runs`` and ``data`` are the folders of the UI."""

    state: Ui
    client: TestClient
    stranger: TestClient
    runs: Path
    data: Path

    def post(self, path: str, body: Any = None) -> Any:
        """A POST as the pages' own scripts send it."""
        return self.client.post(path, json=body or {}, headers=OWN)


@pytest.fixture
def new_ui_under_test(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., UiUnderTest]]:
    """Makes UIs; keyword arguments change their settings."""
    monkeypatch.setenv("PARETUNE_HOME", str(tmp_path / "home"))
    opened = list[TestClient]()

    def make(**changes: Any) -> UiUnderTest:
        runs, data = tmp_path / "runs", tmp_path / "data"
        for folder in (runs, data):
            folder.mkdir(exist_ok=True)
        settings = replace(UiSettings((str(runs),), data), **changes)
        state = new_ui(settings, commands)
        client = TestClient(application(state), base_url="http://127.0.0.1:7860", follow_redirects=False)
        client.__enter__()
        opened.append(client)
        stranger = TestClient(client.app, base_url="http://127.0.0.1:7860", follow_redirects=False)
        session = state.sessions.redeem(state.sessions.new_link())
        assert session is not None
        client.cookies.set(cookie_name(settings), session)
        return UiUnderTest(state, client, stranger, runs, data)

    yield make
    for client in opened:
        client.__exit__(None, None, None)


@pytest.fixture
def ui(new_ui_under_test: Callable[..., UiUnderTest]) -> UiUnderTest:
    return new_ui_under_test()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts UIs as processes on the folders ``runs`` and ``data`` of the test; positional arguments are options."""
    with starting(tmp_path) as begin:
        yield begin
