"""How often a run was looked at: ``paretune settle`` adds seeds and test rows to it, and has its report written again.

``settle.json`` in the run folder has an entry for each time: ``{"looks": [{"begun": ..., "reported": ...}]}``.
"""

from __future__ import annotations

import json
from pathlib import Path

FILE = "settle.json"


def count_looks(run: Path) -> int:
    """The number of the run's report that would be written now, from 1.

    Raises ``ValueError`` that names a damaged file.
    """
    path = run / FILE
    if not path.exists():
        return 1
    try:
        return 1 + len(json.loads(path.read_text(encoding="utf-8"))["looks"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: damaged: {error}") from error
