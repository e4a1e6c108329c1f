"""The last lines of a run's log as pages may show them."""

from __future__ import annotations

from pathlib import Path

from sweeps.runs.layout import LOG
from trainables.storage.regular_files import tail
from trainables.system.redaction import redacted
from trainables.system.shown_text import shown

LINES = 500
TAIL_BYTES = 200_000
LINE_CHARACTERS = 2000


def log_tail(run: Path) -> list[str]:
    """The end of the sweep's log, then what a detached driver printed besides, as ``paretune logs`` has it."""
    sweep, driver = (tail(run / name, TAIL_BYTES).splitlines() for name in ("sweep.log", LOG))
    known = set(sweep)
    lines = [*sweep, *(line for line in driver if line not in known)][-LINES:]
    # At once: looking for secrets takes a millisecond, whatever the length of the text.
    return [shown(line)[:LINE_CHARACTERS] for line in redacted("\n".join(lines)).split("\n")] if lines else []
