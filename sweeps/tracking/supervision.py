"""The process of one tracker, as the driver starts, watches and ends it.

It shares nothing with the sweep but the run folder, so that a tracker that hangs, fails or is slow does not affect the
sweep. It has no terminal and no standard input of the user's: no tracker has an opportunity to prompt.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

from sweeps.tracking.base import Tracker
from sweeps.tracking.follower_process import SETTINGS
from trainables.storage import files
from trainables.storage.damaged_files import display_name
from trainables.system import redaction

LOG_FILE = "tracker.log"  # in the tracker's folder
REASON_LENGTH = 300  # characters of the process's last line that the run's log repeats


class TrackerProcess:
    """Follows ``run_folder`` for ``tracker`` from :meth:`start` to :meth:`end`.

    ``log`` gets a line as soon as the process fails, and one at the end if not everything was sent, which says how to
    send it: by ``resume_command``, and the tracker's own.
    """

    def __init__(
        self, tracker: Tracker, run_folder: Path, log: Callable[[str], None], resume_command: str
    ) -> None:
        self.tracker, self.run_folder = tracker, run_folder
        self._log, self._resume_command = log, resume_command
        self._ending = threading.Event()
        self._watch: threading.Thread | None = None
        self._open = ExitStack()  # what lasts as long as the process
        self.process: subprocess.Popen[str] | None = None
        self.interrupted = False  # by Ctrl-C, before all was sent

    @property
    def folder(self) -> Path:
        """The folder of the tracker's own files in the run folder."""
        return self.run_folder / self.tracker.name

    @property
    def log_file(self) -> Path:
        """What the process wrote to its standard output and error."""
        return self.folder / LOG_FILE

    def start(self) -> None:
        """Starts the process, or logs why it can't."""
        try:
            self.folder.mkdir(exist_ok=True)
            output = self._open.enter_context(files.open_to_append(self.log_file))
            empty = self._open.enter_context(
                tempfile.TemporaryDirectory(prefix="paretune-tracker-", ignore_cleanup_errors=True)
            )
            folder = self.folder.resolve()
            variables = self.tracker.environment(folder, Path(empty), os.environ)
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-P", "-m", "sweeps.tracking.follower_process"),
                    *(self.tracker.name, str(folder.parent)),
                ],
                cwd=empty,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                text=True,
                env={**variables, SETTINGS: self.tracker.model_dump_json()},
                start_new_session=True,  # Ctrl-C reaches the sweep only; the process ends with its standard input
            )
        except OSError as error:
            self._open.close()
            self._log(
                f"{self.tracker.label} tracking could not start: {redaction.redacted(str(error))}. "
                f"The sweep continues without it. {self._how_to_record()}"
            )
            return
        self._watch = threading.Thread(target=self._report_failure, args=(self.process,), daemon=True)
        self._watch.start()

    def summarize(self) -> None:
        """Requests the summary, once the tables and the report are written."""
        if self.process is not None and self.process.stdin is not None:
            with suppress(BrokenPipeError):  # it has ended; its exit code is logged later
                self.process.stdin.write("summary\n")
                self.process.stdin.flush()

    def ask_to_end(self) -> None:
        """Has the process send what is left, and end."""
        self._ending.set()
        if self.process is not None and self.process.stdin is not None:
            with suppress(BrokenPipeError):
                self.process.stdin.close()

    def end(self, deadline: float, allowed_seconds: float) -> None:
        """Waits for the end until ``deadline``, a ``time.monotonic()``, and then kills the process."""
        if self.process is None or self._watch is None:
            return
        code = self._exit_code(self.process, deadline)
        self._watch.join()
        self._open.close()
        if code != 0:
            self._log(self._unsent(code, allowed_seconds))

    def _report_failure(self, process: subprocess.Popen[str]) -> None:
        """Waits for the process, and logs its end at once unless it was asked for."""
        code = process.wait()
        if not self._ending.is_set():
            reason = self._last_line()
            self._log(
                f"{self.tracker.label} tracking failed with exit code {code}{f' ({reason})' if reason else ''}. "
                f"The sweep continues without it; see {display_name(self.log_file)}"
            )

    def _last_line(self) -> str:
        lines = self.log_file.read_text(encoding="utf-8", errors="replace").split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "")
        return redaction.redacted(last[:REASON_LENGTH])

    def _exit_code(self, process: subprocess.Popen[str], deadline: float) -> int | None:
        """The process's exit code; ``None`` if it had more to send than there was time for."""
        try:
            return process.wait(max(0.0, deadline - time.monotonic()))
        except (subprocess.TimeoutExpired, KeyboardInterrupt) as error:
            # Another Ctrl-C while the rest is uploaded ends that too; a resumed run sends it.
            self.interrupted = isinstance(error, KeyboardInterrupt)
            process.kill()
            process.wait()
            return None

    def _unsent(self, code: int | None, allowed_seconds: float) -> str:
        """What became of the process, and how what it didn't record or send is sent later."""
        if self.interrupted:
            what = "was ended by Ctrl-C"
        elif code is None:
            what = f"did not end within {allowed_seconds:g} s"
        else:
            what = f"failed with exit code {code}"
        place = display_name(self.log_file)
        return f"{self.tracker.label} tracking {what}. {self._how_to_record()}; see {place}"

    def _how_to_record(self) -> str:
        command = self.tracker.how_to_send(self.folder)
        send = (
            f". To send what was recorded: {command}" if command not in (None, self._resume_command) else ""
        )
        return f"To record what is missing: {self._resume_command}{send}"
