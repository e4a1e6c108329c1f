"""``paretune ui`` as a process of its own, and a browser that its link signed in."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.helpers.sweeps import PARETUNE


@dataclass
class UiProcess:
    """A UI that was started by its command, and a browser that its link signed in."""

    process: subprocess.Popen[str]
    lines: list[str]
    browser: httpx.Client
    environment: dict[str, str]

    @property
    def url(self) -> str:
        return str(self.browser.base_url)

    def end(self, how: int = signal.SIGTERM) -> float:
        """Ends the process and waits for it; the seconds that this took."""
        began = time.monotonic()
        self.process.send_signal(how)
        self.process.wait(30)
        return time.monotonic() - began


Start = Callable[..., UiProcess]


@contextmanager
def starting(tmp_path: Path) -> Iterator[Start]:
    """Starts UIs on the folders ``runs`` and ``data`` of the test; positional arguments are options."""
    (tmp_path / "runs").mkdir()
    (tmp_path / "data").mkdir()
    with ExitStack() as stack:

        def begin(*options: str, program: list[str] | None = None, **variables: str) -> UiProcess:
            environment = {**os.environ, "PARETUNE_HOME": str(tmp_path / "home"), **variables}
            arguments = ["--runs", str(tmp_path / "runs"), "--data", str(tmp_path / "data"), "--port", "0"]
            process = subprocess.Popen(
                [*(program or [*PARETUNE, "ui"]), *arguments, "--no-browser", *options],
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path,
                env=environment,
            )  # fmt: skip
            stack.callback(_ended, process)
            lines = list[str]()
            wait = threading.Thread(target=lambda: lines.append(process.stdout.readline()))  # type: ignore[union-attr]
            wait.start()
            wait.join(90)
            assert lines and lines[0], process.stderr.read() if process.stderr else ""  # noqa: PT018
            base, _, _ = lines[0].partition("/?token=")
            browser = stack.enter_context(httpx.Client(base_url=base, timeout=180))
            assert browser.get(lines[0].strip()).status_code == 303
            return UiProcess(process, lines, browser, environment)

        yield begin


def _ended(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        process.kill()
    process.wait()
