"""A trial's config as settings by path. A setting that is ``null`` has a value; a config may also lack it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

_ABSENT = object()


def leaves(config: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of a nested config by path.

    >>> dict(leaves({"method": {"rank": 8}, "train": {"max_grad_norm": None}}))
    {'method.rank': 8, 'train.max_grad_norm': None}
    """
    for name, value in config.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def optimizer_name(settings: dict[str, Any]) -> str | None:
    """The optimizer of a config's settings by path: its name, or the kind of an optimizer with settings.

    >>> optimizer_name({"train.optimizer.kind": "galore", "train.optimizer.rank": 64})
    'galore'
    """
    return settings.get("train.optimizer", settings.get("train.optimizer.kind"))


def varied(configs: Sequence[dict[str, Any]]) -> list[str]:
    """The paths of the settings that are not the same in all configs, or that some lack; in the configs' order.

    ``configs``: settings by path, one dict for each trial.
    """
    paths = dict.fromkeys(path for config in configs for path in config)  # an ordered set
    return [
        path
        for path in paths
        if any(config.get(path, _ABSENT) != configs[0].get(path, _ABSENT) for config in configs)
    ]


def within(path: str, setting: str) -> bool:
    """Whether ``path`` is the setting, or a part of it, as ``model.rope.factor`` is of ``model.rope``."""
    return path == setting or path.startswith(f"{setting}.")
