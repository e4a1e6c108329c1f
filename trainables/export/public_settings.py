"""The part of a trial's config that goes into a model card: settings without paths of this machine."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from trainables.data.sources import is_hub

# Paths, and what other sections of the card show.
NOT_SETTINGS = frozenset(
    {
        "name",
        "path",
        "folder",
        "fingerprint",
        "unsafe",
        "start",
        "sha256",
        "planned_sets",
        "train",
        "eval",
        "kind",
        "quantization",
    }
)


def public_settings(config: BaseModel) -> dict[str, Any]:
    """The settings of a config that are set, without paths; of a data set's path the last part remains.

    A setting that is null is set where that is not its default, as in ``max_grad_norm: null``.
    """
    public: dict[str, Any] = {}
    for key, value in config.model_dump(mode="json").items():
        if key in NOT_SETTINGS or _is_unset(config, key, value):
            continue
        if isinstance(value, dict) and "trial" in value:  # another trial's model
            value = value.get("cell") or value["trial"]
        public[key] = _without_paths(value)
    return public


def _is_unset(config: BaseModel, key: str, value: Any) -> bool:
    field = type(config).model_fields.get(key)
    null_is_default = field is None or field.get_default(call_default_factory=True) is None
    return value in ([], {}, "") or (value is None and null_is_default)


def _without_paths(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_paths(item) for key, item in value.items() if key not in ("path", "folder")}
    if isinstance(value, list):
        return [_without_paths(item) for item in value]
    return public_data_name(value) if isinstance(value, str) else value


def public_data_name(name: str) -> str:
    """The name of a data set without its folder: the last part of a path, or the whole name on a hub."""
    return name if is_hub(name) else name.replace("\\", "/").rstrip("/").rpartition("/")[2] or name


def dataset_hub_id(name: str) -> str | None:
    """The id of a data set on the Hugging Face hub: ``hf:ORG/NAME:SUBSET#SPLIT@REVISION`` names it."""
    if not name.startswith("hf:"):
        return None
    hub_id = name.removeprefix("hf:").removeprefix("datasets/")
    for separator in ":#@":
        hub_id = hub_id.partition(separator)[0]
    return hub_id
