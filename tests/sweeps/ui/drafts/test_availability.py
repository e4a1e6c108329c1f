"""What can't work on this machine is asked of a command that takes minutes."""

from __future__ import annotations

import sys
import threading
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from sweeps.ui.access import cookie_name
from sweeps.ui.children import short_commands
from tests.helpers.ui_children import is_alive, wait_for
from tests.helpers.ui_server import served
from tests.sweeps.ui.conftest import UiUnderTest


def test_a_ui_that_ends_while_doctor_runs_answers_who_waits_and_prints_no_error(
    ui: UiUnderTest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    started, answers = tmp_path / "pid", list[httpx.Response]()
    doctor = f"import os, time; open({str(started)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    monkeypatch.setattr(short_commands, "command_line", lambda argv: [sys.executable, "-c", doctor])
    with served(ui.state) as url:
        name = cookie_name(replace(ui.state.settings, port=httpx.URL(url).port or 0))
        session = ui.state.sessions.redeem(ui.state.sessions.new_link())

        def ask() -> None:
            headers = {"cookie": f"{name}={session}"}
            answers.append(httpx.get(f"{url}/new/unavailable", headers=headers, timeout=60))

        waiting = threading.Thread(target=ask)
        waiting.start()
        wait_for(lambda: started.exists() and started.read_text())
    waiting.join(30)
    assert [answer.status_code for answer in answers] == [503]
    assert not is_alive(int(started.read_text()))
    assert "Traceback" not in capfd.readouterr().err
