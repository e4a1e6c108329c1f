"""The folder of models, data and caches that outlives runs."""

from __future__ import annotations

import os
from pathlib import Path


def home() -> Path:
    """Where Paretune keeps what outlives a run: ``PARETUNE_HOME``, by default ``~/.cache/paretune``."""
    if own := os.environ.get("PARETUNE_HOME"):
        return Path(own).expanduser().resolve()
    shared = os.environ.get("XDG_CACHE_HOME")
    return (Path(shared) if shared else Path.home() / ".cache") / "paretune"
