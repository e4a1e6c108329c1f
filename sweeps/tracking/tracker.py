"""A sweep in Weights & Biases: one run per trial as it trains, and one summary run with the comparison.

It happens in a process of its own that follows the run folder, so a tracker that hangs, fails or is slow costs
the sweep nothing. Which mode is decided before it starts: W&B is never given a chance to ask.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from sweeps.planning.plan import Plan
from sweeps.tracking.connectivity import Mode, mode_for

FINISH_SECONDS = 120.0  # that the tracker has to hand in what is left, once the sweep is over
LEAVE_SECONDS = 2.0  # that it has after Ctrl-C


class Tracker:
    """Follows a run while ``following`` lasts; does nothing, and imports nothing, with ``wandb: off``.

    Raises ``SpecError`` where ``online`` was asked for by name and can't be.
    """

    def __init__(self, plan: Plan, run: Path) -> None:
        self.tracking, self.run = plan.spec.tracking, run
        self.patience = FINISH_SECONDS
        self._process: subprocess.Popen[str] | None = None
        self._mode: tuple[Mode, str] | None = None
        if self.tracking.wandb != "off" and os.environ.get("WANDB_MODE") != "disabled":
            self._mode = mode_for(self.tracking.wandb)

    @contextmanager
    def following(self, say: Callable[[str], None]) -> Iterator[None]:
        if self._mode is None:
            yield
            return
        mode, why = self._mode
        say(f"W&B: {mode}, {why}")
        folder = self.run / "wandb"
        folder.mkdir(exist_ok=True)
        with (folder / "tracker.log").open("a", encoding="utf-8") as log:
            self._process = self._start(mode, log)
            try:
                yield
            except BaseException:
                self.leave()
                raise
            finally:
                code = self._end(self._process)
        if code:
            say(f"W&B tracking ended with code {code}; {folder / 'tracker.log'} says why")

    def _start(self, mode: Mode, log: IO[str]) -> subprocess.Popen[str]:
        places = ("WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_ARTIFACT_DIR")
        ours = {name: str(self.run / "wandb" / "own") for name in places} | {"WANDB_DIR": str(self.run)}
        ours |= {"WANDB_ENTITY": self.tracking.entity} if self.tracking.entity else {}
        return subprocess.Popen(
            [sys.executable, "-m", "sweeps.tracking.wandb_process", str(self.run), self.tracking.project],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            text=True,
            env={**os.environ, **ours, "WANDB_MODE": mode, "WANDB_SILENT": "true"},
            start_new_session=True,  # Ctrl-C is for the sweep; the tracker ends when its input does
        )

    def summarize(self) -> None:
        """Asks for the summary run; the tables and the report are there by now."""
        if self._process is not None and self._process.stdin is not None:
            with suppress(BrokenPipeError):  # it ended before; its code will say so
                self._process.stdin.write("summary\n")
                self._process.stdin.flush()

    def leave(self) -> None:
        """The sweep was interrupted: what the tracker can't hand in quickly has to wait for the next session."""
        self.patience = LEAVE_SECONDS

    def _end(self, process: subprocess.Popen[str]) -> int:
        assert process.stdin is not None
        with suppress(BrokenPipeError):
            process.stdin.close()
        try:
            return process.wait(self.patience)
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            process.kill()
            return process.wait()
