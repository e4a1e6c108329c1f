"""A sweep in Weights & Biases: one run per trial as it trains, and one summary run with the comparison.

It happens in a process of its own that follows the run folder, so a tracker that hangs, fails or is slow costs
the sweep nothing. Which mode is decided before it starts: W&B is never given a chance to ask.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import IO, Literal
from urllib.parse import urlsplit

from sweeps.plan import Plan
from sweeps.problems import Problem, SpecError
from trainables.capabilities import wandb_key

Mode = Literal["online", "offline"]
CONNECT_SECONDS = 2.0
FINISH_SECONDS = 120.0  # that the tracker has to hand in what is left, once the sweep is over


class Tracker:
    """Follows a run while the ``with`` block lasts; does nothing, and imports nothing, with ``wandb: off``."""

    def __init__(self, plan: Plan, run: Path, say: Callable[[str], None]) -> None:
        self.tracking, self.run, self.say = plan.spec.tracking, run, say
        self._process: subprocess.Popen[str] | None = None
        self._log: IO[str] | None = None

    def __enter__(self) -> Tracker:
        wanted = self.tracking.wandb
        if wanted == "off" or os.environ.get("WANDB_MODE") == "disabled":
            return self
        mode, why = mode_for(wanted)
        self.say(f"W&B: {mode}, {why}")
        (self.run / "wandb").mkdir(parents=True, exist_ok=True)
        self._log = (self.run / "wandb" / "tracker.log").open("a", encoding="utf-8")
        command = [sys.executable, "-m", "sweeps.tracker", str(self.run), self.tracking.project]
        environment = {**os.environ, "WANDB_MODE": mode, "WANDB_DIR": str(self.run), "WANDB_SILENT": "true"}
        if self.tracking.entity:
            environment["WANDB_ENTITY"] = self.tracking.entity
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=self._log,
            stderr=self._log,
            text=True,
            env=environment,
            start_new_session=True,  # Ctrl-C is for the sweep; the tracker ends when its input does
        )
        return self

    def summarize(self) -> None:
        """Asks for the summary run; the tables and the report are there by now."""
        if self._process is not None and self._process.stdin is not None and self._process.poll() is None:
            self._process.stdin.write("summary\n")
            self._process.stdin.flush()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is None or self._process.stdin is None or self._log is None:
            return
        try:
            self._process.stdin.close()
            code = self._process.wait(FINISH_SECONDS if kind is None else 5)
        except (subprocess.TimeoutExpired, BrokenPipeError):
            self._process.kill()
            code = self._process.wait()
        self._log.close()
        if code:
            self.say(f"W&B tracking ended with code {code}; {self.run / 'wandb' / 'tracker.log'} says why")


def mode_for(wanted: Literal["auto", "offline", "online"]) -> tuple[Mode, str]:
    """What to do, and why in words; within :data:`CONNECT_SECONDS`, and without asking anybody anything.

    Raises ``SpecError`` where ``online`` was asked for by name and can't be.
    """
    if wanted == "offline" or os.environ.get("WANDB_MODE") == "offline":
        return "offline", "as asked; `wandb sync` sends the runs later"
    hurdle = None
    if wandb_key() is None:
        hurdle = "no API key here (`wandb login`)"
    elif not _reachable():
        hurdle = "its server can't be reached"
    if hurdle is None:
        return "online", "logged in"
    if wanted == "online":
        raise SpecError(Problem("tracking", "tracking.wandb", f"online, but {hurdle}. Use auto or offline"))
    return "offline", f"{hurdle}; `wandb sync` sends the runs later"


def _reachable() -> bool:
    url = urlsplit(os.environ.get("WANDB_BASE_URL") or "https://api.wandb.ai")
    try:
        port = url.port or (443 if url.scheme == "https" else 80)
        socket.create_connection((url.hostname or "", port), timeout=CONNECT_SECONDS).close()
    except OSError:
        return False
    return True
