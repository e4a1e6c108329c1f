"""What the models will see, written as a run's ``data.json`` before the first trial: by a process of its own.

It reads and tokenizes the rows while Ray starts, so that no trial waits for it, and trials on this machine find the
tokens there. Torch, which tokenizers bring along, stays out of the driver.

    python -m sweeps.execution.preview_process RUN/data.json      a trial's config a line on standard input
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sweeps.planning.plan import Plan
from trainables.data.errors import DataError

WRONG = 2  # its exit code for what the user can mend, which it says on standard output


@contextmanager
def preview_written(plan: Plan, run_folder: Path) -> Iterator[PreviewProcess]:
    """Has ``data.json`` written while the block begins; a block that ends early leaves no process behind."""
    process = PreviewProcess(plan, run_folder)
    try:
        yield process
    finally:
        process.stop()


class PreviewProcess:
    """The process, started where ``data.json`` isn't there yet.

    ``finish`` waits for it, and raises :class:`DataError` for rows or a template that no trial could be trained on.
    """

    def __init__(self, plan: Plan, run_folder: Path) -> None:
        self._process: subprocess.Popen[str] | None = None
        path = run_folder / "data.json"
        if path.exists():
            return
        from sweeps.console.data_preview import distinct

        self._process = subprocess.Popen(
            [sys.executable, "-m", "sweeps.execution.preview_process", str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C is for the sweep, which ends this
        )
        assert self._process.stdin is not None
        with suppress(BrokenPipeError), self._process.stdin:  # it ended before; its code will say so
            self._process.stdin.writelines(f"{config.model_dump_json()}\n" for config in distinct(plan))

    def finish(self) -> None:
        if self._process is None:
            return
        assert self._process.stdout is not None
        said = self._process.stdout.read().strip()
        code = self._process.wait()
        if code == WRONG:
            raise DataError(said)
        if code:
            raise RuntimeError(f"looking at the rows ended with code {code}; paretune data SPEC shows why")

    def stop(self) -> None:
        """Ends it, however far it is; ``--resume`` starts it again."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()


def main() -> None:
    """Looks at what each config's model sees, and shows how far it is."""
    from trainables.system import quiet

    quiet.silence()
    from sweeps.console import loading_progress
    from sweeps.console.data_preview import write
    from trainables.models.folder import ModelError
    from trainables.templates import TemplateError
    from trainables.trial.config import TrialConfig

    configs = [TrialConfig.model_validate_json(line) for line in sys.stdin]
    try:
        with loading_progress.shown():
            write(Path(sys.argv[1]), configs)
    except (DataError, ModelError, TemplateError) as error:
        print(error)
        sys.exit(WRONG)


if __name__ == "__main__":
    main()
