"""A preview of what the models will see, written to a run's ``data.json`` before the first trial, in its own process.

It reads and tokenizes the rows while Ray starts, so that no trial waits for that, and trials on this machine find the
tokens cached. Torch, which tokenizers import, stays out of the driver.

    python -m sweeps.execution.preview_process RUN/data.json      configs of trials on standard input, one a line
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sweeps.planning.plan import Plan
from trainables.data.errors import DataError

USER_ERROR = 2  # exit code for errors that the user can correct; the message is on standard output


@contextmanager
def preview_written(plan: Plan, run_folder: Path) -> Iterator[PreviewProcess]:
    """Has ``data.json`` written while the block begins; a block that ends early leaves no process behind."""
    process = PreviewProcess(plan, run_folder)
    try:
        yield process
    finally:
        process.stop()


class PreviewProcess:
    """The process, started if there is no ``data.json`` yet."""

    def __init__(self, plan: Plan, run_folder: Path) -> None:
        self._process: subprocess.Popen[str] | None = None
        path = run_folder / "data.json"
        if path.exists():
            return
        from sweeps.console.data_preview import distinct_configs

        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "sweeps.execution.preview_process", str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C goes to the driver, which ends this process
        )
        assert self._process.stdin is not None
        # The end of the block closes the pipe, which tells the process that there are no more configs.
        with suppress(BrokenPipeError), self._process.stdin:  # it has ended already; its exit code tells why
            self._process.stdin.writelines(
                f"{config.model_dump_json()}\n" for config in distinct_configs(plan)
            )

    def finish(self) -> None:
        """Waits for it. Raises :class:`DataError` for rows or a template that no trial could be trained on."""
        if self._process is None:
            return
        assert self._process.stdout is not None
        # Read before waiting, because the process can't end while the pipe is full.
        message = self._process.stdout.read().strip()
        code = self._process.wait()
        if code == USER_ERROR:
            raise DataError(message)
        if code:
            raise RuntimeError(f"the data preview ended with code {code}; `paretune data SPEC` shows why")

    def stop(self) -> None:
        """Kills it if it still runs; ``--resume`` starts it again."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()


def main() -> None:
    """Writes the preview of each config's data, and shows the progress."""
    from trainables.system import quiet

    quiet.silence()
    from sweeps.console import loading_progress
    from sweeps.console.data_preview import write_data_json
    from trainables.models.folder import ModelError
    from trainables.templates import TemplateError
    from trainables.trial.config import TrialConfig

    configs = [TrialConfig.model_validate_json(line) for line in sys.stdin]
    try:
        with loading_progress.display():
            write_data_json(Path(sys.argv[1]), configs)
    except (DataError, ModelError, TemplateError) as error:
        print(error)
        sys.exit(USER_ERROR)


if __name__ == "__main__":
    main()
