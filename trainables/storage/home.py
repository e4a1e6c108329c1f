"""The folder of models, data and caches, which outlives runs."""

from __future__ import annotations

import os
from pathlib import Path


def home() -> Path:
    """Paretune's own folder: ``PARETUNE_HOME``, by default ``~/.cache/paretune``."""
    if configured := os.environ.get("PARETUNE_HOME"):
        return Path(configured).expanduser().resolve()
    cache_home = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache_home) if cache_home else Path.home() / ".cache") / "paretune"
