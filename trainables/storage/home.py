"""The folder of models, data and caches, which outlives runs."""

from __future__ import annotations

import os
from pathlib import Path


def home() -> Path:
    """Paretune's own folder: ``PARETUNE_HOME``, by default ``~/.cache/paretune``.

    Raises ``OSError`` where the user has no home folder, as in some containers, and names none by ``PARETUNE_HOME``.
    """
    if configured := os.environ.get("PARETUNE_HOME"):
        return Path(configured).expanduser().resolve()
    cache_home = os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(cache_home) if cache_home else Path.home() / ".cache") / "paretune"
    except RuntimeError:
        raise OSError(
            "this user has no home folder; set PARETUNE_HOME to a folder that can be written to"
        ) from None
