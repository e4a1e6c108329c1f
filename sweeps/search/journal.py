"""The file in which a cell's Optuna study is kept."""

from __future__ import annotations

import os
from pathlib import Path


def journal_path(run: Path, cell: str) -> Path:
    return run / f"study-{cell}.journal"


def repair_journal(path: Path) -> None:
    """Repairs a journal after its driver was killed: removes its lock, and a last line that was cut short.

    Only the process that holds the run folder may do this.
    """
    path.with_name(f"{path.name}.lock").unlink(missing_ok=True)
    if path.exists():
        text = path.read_bytes()
        if not text.endswith(b"\n"):
            # Without any line break `rfind` gives -1, and the one broken line goes.
            os.truncate(path, text.rfind(b"\n") + 1)
