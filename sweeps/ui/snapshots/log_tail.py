"""The last lines of a run's log as pages may show them."""

from __future__ import annotations

from pathlib import Path

from sweeps.runs.layout import LOG
from trainables.system.redaction import redacted
from trainables.system.shown_text import shown

LINES = 500
TAIL_BYTES = 200_000
LINE_CHARACTERS = 2000


def log_tail(run: Path) -> list[str]:
    """The end of the sweep's log, then what a detached driver printed besides, as ``paretune logs`` has it."""
    sweep, driver = _tail(run / "sweep.log"), _tail(run / LOG)
    known = set(sweep)
    lines = [*sweep, *(line for line in driver if line not in known)][-LINES:]
    # At once: looking for secrets takes a millisecond, whatever the length of the text.
    return [shown(line)[:LINE_CHARACTERS] for line in redacted("\n".join(lines)).split("\n")] if lines else []


def _tail(path: Path) -> list[str]:
    try:
        if (
            path.is_symlink() or not path.is_file()
        ):  # a link in somebody else's run leads to files of this user
            return []
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - TAIL_BYTES))
            lines = file.read(TAIL_BYTES).decode("utf-8", "replace").splitlines()
    except OSError:
        return []
    # The first line may have lost its beginning, and with it what would show that it has a secret.
    return lines[1:] if size > TAIL_BYTES else lines
