"""What of a trial's config is told to others: how it was made, and no paths of this machine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trainables.data.sources import is_hub

# Paths, and what is said elsewhere in the card.
NOT_SETTINGS = frozenset(
    {
        "name",
        "path",
        "folder",
        "fingerprint",
        "unsafe",
        "start",
        "sha256",
        "train",
        "eval",
        "kind",
        "quantization",
    }
)


def public_settings(values: Mapping[str, Any]) -> dict[str, Any]:
    """Those that say how something was made: no paths, nothing that is unset; of a path its last part."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        if key in NOT_SETTINGS or value in (None, [], {}, ""):
            continue
        if isinstance(value, dict) and "trial" in value:  # another trial's model
            value = value.get("cell") or value["trial"]
        found[key] = _public(value)
    return found


def _public(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _public(item) for key, item in value.items() if key not in ("path", "folder")}
    if isinstance(value, list):
        return [_public(item) for item in value]
    return public_data_name(value) if isinstance(value, str) else value


def public_data_name(name: str) -> str:
    """What a data set is called: of a path its last part alone."""
    return name if is_hub(name) else name.replace("\\", "/").rstrip("/").rpartition("/")[2] or name


def dataset_hub_id(name: str) -> str | None:
    """The id of a data set on the Hugging Face hub: ``hf:ORG/NAME:SUBSET#SPLIT@REVISION`` names it."""
    if not name.startswith("hf:"):
        return None
    found = name.removeprefix("hf:").removeprefix("datasets/")
    for mark in ":#@":
        found = found.partition(mark)[0]
    return found
