"""A sweep in Weights & Biases: one run per trial as it trains, and one summary run with the comparison.

A process of its own follows the run folder, so that a tracker that hangs, fails or is slow does not affect the sweep.
The mode is decided before that process starts: W&B has no opportunity to prompt the user.
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
from sweeps.tracking.connectivity import Mode, choose_mode

FINISH_SECONDS = 120.0  # for uploading what is left once the sweep has ended
LEAVE_SECONDS = 2.0  # for the same after Ctrl-C


class Tracker:
    """Records a run in W&B within ``recording``; does nothing, and imports nothing, with ``wandb: off``.

    Raises ``SpecError`` if the spec requires ``online`` and that is impossible.
    """

    def __init__(self, plan: Plan, run_folder: Path) -> None:
        self.tracking, self.run_folder = plan.spec.tracking, run_folder
        self.finish_seconds = FINISH_SECONDS
        self._process: subprocess.Popen[str] | None = None
        self._mode: tuple[Mode, str] | None = None
        if self.tracking.wandb != "off" and os.environ.get("WANDB_MODE") != "disabled":
            self._mode = choose_mode(self.tracking.wandb)

    @contextmanager
    def recording(self, log: Callable[[str], None]) -> Iterator[None]:
        """Runs the tracker process within the block; ``log`` gets a line about its mode, and one if it fails."""
        if self._mode is None:
            yield
            return
        mode, reason = self._mode
        log(f"W&B: {mode}, {reason}")
        folder = self.run_folder / "wandb"
        folder.mkdir(exist_ok=True)
        with (folder / "tracker.log").open("a", encoding="utf-8") as output:
            self._process = self._start(mode, output)
            try:
                yield
            except BaseException:
                self.hurry()
                raise
            finally:
                code = self._end(self._process)
        if code:
            log(f"W&B tracking failed with exit code {code}; see {folder / 'tracker.log'}")

    def _start(self, mode: Mode, output: IO[str]) -> subprocess.Popen[str]:
        # W&B writes nothing outside of the run folder.
        names = ("WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_ARTIFACT_DIR")
        variables = {name: str(self.run_folder / "wandb" / "own") for name in names}
        variables |= {"WANDB_DIR": str(self.run_folder)}
        variables |= {"WANDB_ENTITY": self.tracking.entity} if self.tracking.entity else {}
        return subprocess.Popen(
            [
                sys.executable,
                "-m",
                "sweeps.tracking.wandb_process",
                str(self.run_folder),
                self.tracking.project,
            ],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            text=True,
            env={**os.environ, **variables, "WANDB_MODE": mode, "WANDB_SILENT": "true"},
            start_new_session=True,  # Ctrl-C reaches the sweep only; the tracker ends with its standard input
        )

    def summarize(self) -> None:
        """Requests the summary run, once the tables and the report are written."""
        if self._process is not None and self._process.stdin is not None:
            with suppress(BrokenPipeError):  # it has ended; its exit code is logged later
                self._process.stdin.write("summary\n")
                self._process.stdin.flush()

    def hurry(self) -> None:
        """Limits the time for uploads, as the sweep was interrupted; a resumed run sends the rest."""
        self.finish_seconds = LEAVE_SECONDS

    def _end(self, process: subprocess.Popen[str]) -> int:
        assert process.stdin is not None
        with suppress(BrokenPipeError):
            process.stdin.close()
        try:
            return process.wait(self.finish_seconds)
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            # Another Ctrl-C while the rest is uploaded ends that too; a resumed run sends it.
            process.kill()
            return process.wait()
