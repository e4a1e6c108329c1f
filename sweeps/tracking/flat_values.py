"""A trial's settings and results as trackers take them: by one key each, plain values."""

from __future__ import annotations

import json
from collections.abc import Container, Iterator
from typing import Any

from sweeps.tracking.base import FollowedTrial
from trainables.results import Record
from trainables.system import redaction

Plain = str | bool | int | float

# Of a record's numbers, those by which trials are compared.
RESULTS = (
    "objective", "quality", "peak_bytes", "peak_load_bytes", "peak_train_bytes", "peak_eval_bytes",
    "predicted_peak_bytes", "trainable_params", "artifact_bytes", "steps", "kept_step", "tokens", "tokens_per_second",
    "setup_seconds", "train_seconds", "eval_seconds",
)  # fmt: skip


def settings(trial: FollowedTrial) -> dict[str, Plain]:
    """The settings of a trial by their paths, such as ``method.rank``; lists are JSON, and ``null`` is left out."""
    values: dict[str, Plain] = redaction.redacted_values(dict(_leaves(trial.config)))
    return values


def results(record: Record, curves: Container[str] = ()) -> dict[str, float]:
    """What was measured of a trial, and as ``test/NAME`` its scores on the test rows, without what one of ``curves``
    ends with.
    """
    measured = ((name, getattr(record, name)) for name in RESULTS)
    test = ((f"test/{name}", value) for name, value in record.metrics.items())
    found = (*measured, *test, *set_values(record).items())
    return {name: float(value) for name, value in found if value is not None and name not in curves}


def set_values(record: Record) -> dict[str, float]:
    """As ``set/NAME/MEASURE`` what further evaluation sets measured."""
    return {
        f"set/{name}/{measure}": value
        for name, each in record.sets.items()
        for measure, value in each.metrics.items()
    }


def facts(record: Record) -> dict[str, str]:
    """What is known of a trial beside numbers."""
    names = ("cell", "stage", "method", "model", "data", "role", "status", "error", "quality_name")
    found = {name: getattr(record, name) for name in names}
    return {name: str(value) for name, value in found.items() if value is not None}


def _leaves(config: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Plain]]:
    for name, value in config.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{name}.")
        elif isinstance(value, str | bool | int | float):
            yield prefix + name, value
        elif value is not None:
            yield prefix + name, json.dumps(value, ensure_ascii=False)
