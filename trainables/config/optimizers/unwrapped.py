"""The optimizer itself, without what libraries wrap around it."""

from __future__ import annotations

from typing import Any


def unwrapped(optimizer: Any) -> Any:
    """The torch optimizer in accelerate's wrapper, which has neither its hooks nor its modes; another one as it is."""
    return getattr(optimizer, "optimizer", optimizer)
