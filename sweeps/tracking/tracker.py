"""A sweep in Weights & Biases: one run per trial as it trains, and one summary run with the comparison.

A process of its own follows the run folder, so that a tracker that hangs, fails or is slow does not affect the sweep.
The mode is decided before that process starts: W&B has no opportunity to prompt the user.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from sweeps.planning.checks import tracking
from sweeps.planning.plan import Plan
from sweeps.tracking.connectivity import Mode, choose_mode
from trainables.storage import files
from trainables.system import redaction

FINISH_SECONDS = 120.0  # for uploading what is left once the sweep has ended
LEAVE_SECONDS = 2.0  # for the same after Ctrl-C
REASON_LENGTH = 300  # characters of the tracker's last line that the run's log repeats


class Tracker:
    """Records a run in W&B within ``recording``; does nothing, and imports nothing, with ``wandb: off``.

    Raises ``SpecError`` if the spec requires ``online`` and that is impossible.
    """

    def __init__(self, plan: Plan, run_folder: Path) -> None:
        self.tracking, self.run_folder = plan.spec.tracking, run_folder
        self.finish_seconds = FINISH_SECONDS
        self._process: subprocess.Popen[str] | None = None
        self._mode: tuple[Mode, str] | None = None
        self._is_given = "tracking" in plan.spec.source.tree
        setting = self.tracking.wandb
        if setting != "off" and tracking.is_on(self.tracking):
            self._mode = choose_mode(setting)

    @property
    def folder(self) -> Path:
        """The folder of W&B's own files in the run folder."""
        return self.run_folder / "wandb"

    @contextmanager
    def recording(
        self,
        log: Callable[[str], None],
        resume_command: str = "--resume",
        quiet_log: Callable[[str], None] | None = None,
    ) -> Iterator[None]:
        """Runs the tracker process within the block.

        ``log`` gets a line about its mode, one as soon as it fails, and one at the end if not everything was sent,
        which says how to send it: by ``resume_command`` and W&B's own. ``quiet_log``, where there is one, gets the mode
        of a spec that says nothing of tracking, on a machine that is not logged in.
        """
        if self._mode is None:
            yield
            return
        mode, reason = self._mode
        asked_for = self._is_given or mode == "online"
        say = log if asked_for or quiet_log is None else quiet_log
        say(f"W&B: {mode}, {reason}" + (f": {self._sync_command(mode)}" if mode == "offline" else ""))
        for note in tracking.notes(self.tracking):
            log(note)
        self.folder.mkdir(exist_ok=True)
        with (
            files.open_to_append(self.folder / "tracker.log") as output,
            tempfile.TemporaryDirectory(prefix="paretune-wandb-") as empty,
        ):
            self._process = self._start(mode, output, empty)
            ending = threading.Event()
            watch = threading.Thread(target=self._watch, args=(self._process, ending, log), daemon=True)
            watch.start()
            try:
                yield
            except BaseException:
                self.hurry()
                raise
            finally:
                ending.set()
                code = self._end(self._process)
                watch.join()
        if code != 0:
            log(self._unsent(mode, code, resume_command))

    def _start(self, mode: Mode, output: IO[str], empty: str) -> subprocess.Popen[str]:
        # W&B writes nothing outside of the run folder.
        names = ("WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_ARTIFACT_DIR")
        run = self.run_folder.resolve()
        variables = {name: str(run / "wandb" / "own") for name in names}
        # W&B reads settings in its folder of configuration and in `wandb` of the working folder. Those in a run or
        # beside a data set may be somebody else's, and could have the API key sent to any server.
        variables |= {"WANDB_DIR": str(run), "WANDB_CONFIG_DIR": empty}
        variables |= {"WANDB_ENTITY": self.tracking.entity} if self.tracking.entity else {}
        left_out = tracking.variables_of_another_run(os.environ)
        kept = {name: value for name, value in os.environ.items() if name not in left_out}
        return subprocess.Popen(
            [
                sys.executable,
                "-P",
                "-m",
                "sweeps.tracking.wandb_process",
                str(run),
                self.tracking.project,
            ],
            cwd=empty,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            text=True,
            env={**kept, **variables, "WANDB_MODE": mode, "WANDB_SILENT": "true"},
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

    def _watch(
        self, process: subprocess.Popen[str], ending: threading.Event, log: Callable[[str], None]
    ) -> None:
        """Waits for the process, and logs its end at once unless it was asked for."""
        code = process.wait()
        if not ending.is_set():
            reason = self._last_line()
            log(
                f"W&B tracking failed with exit code {code}{f' ({reason})' if reason else ''}. "
                f"The sweep continues without it; see {self.folder / 'tracker.log'}"
            )

    def _last_line(self) -> str:
        lines = (self.folder / "tracker.log").read_text(encoding="utf-8", errors="replace").split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "")
        return redaction.redacted(last[:REASON_LENGTH])

    def _end(self, process: subprocess.Popen[str]) -> int | None:
        """The process's exit code; ``None`` if it had more to send than there was time for."""
        assert process.stdin is not None
        with suppress(BrokenPipeError):
            process.stdin.close()
        try:
            return process.wait(self.finish_seconds)
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            # Another Ctrl-C while the rest is uploaded ends that too; a resumed run sends it.
            process.kill()
            process.wait()
            return None

    def _unsent(self, mode: Mode, code: int | None, resume_command: str) -> str:
        """What became of the process, and how what it didn't record or send is sent later."""
        what = (
            f"W&B tracking did not end within {self.finish_seconds:g} s"
            if code is None
            else f"W&B tracking failed with exit code {code}"
        )
        return (
            f"{what}. To record what is missing: {resume_command}. To send what was recorded: "
            f"{self._sync_command(mode)}; see {self.folder / 'tracker.log'}"
        )

    def _sync_command(self, mode: Mode) -> str:
        # The pattern stays outside of the quotes, for the shell to expand.
        return f"wandb sync {shlex.quote(str(self.folder))}/{'offline-run' if mode == 'offline' else 'run'}-*"
