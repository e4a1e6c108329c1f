"""The row of a trial in a run's table, as plain values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from sweeps.ui.snapshots.failure_kinds import failure_kind
from sweeps.ui.snapshots.trial_files import TrialFiles
from trainables.results import Record, SetRecord
from trainables.system.redaction import redacted
from trainables.system.shown_text import shown

ERROR_CHARACTERS = 300
FIELDS = (
    *("objective", "objective_name", "quality", "quality_name", "quality_unit", "quality_higher_is_better"),
    *("tokens_per_second", "train_seconds", "started_at", "ended_at", "start_trial", "out_of_memory_in"),
    *("memory_source", "retried_batch_size", "stopped_by_hand"),
)


def trial_row(
    files: TrialFiles, settings: Mapping[str, Any], status: str, doing: str | None = None
) -> dict[str, Any]:
    """``status``: that of the record, or what the trial is doing. ``settings``: those that differ in its cell."""
    record, config = files.record, files.settings_tree
    train = config.get("train") if isinstance(config.get("train"), dict) else {}
    error = first_line(record.error) if record is not None else files.damaged
    row = {
        "id": files.folder.name,
        "cell": files.cell,
        "role": files.role,
        "status": status,
        "doing": shown(doing) if doing else None,
        "step": files.step,
        "steps": train.get("steps") if isinstance(train, dict) else None,
        "settings": settings,
        "kind": _kind(config.get("method")),
        "error": error,
        "error_kind": failure_kind(error),
        "changed": round(files.changed, 3),
        **_of_config(config),
        **_of_record(record),
    }
    # All of it is somebody's text: half a character or NaN in one row would end the stream of all.
    return {name: plain(value) for name, value in row.items()}


def _of_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """What tells the cell's parts before there is a record."""
    stage, model, data, train = (config.get(name) or {} for name in ("stage", "model", "data", "train"))
    kind = stage.get("kind") if isinstance(stage, dict) else stage
    return {
        "stage": kind,
        "method": config.get("method_name") or _kind(config.get("method")),
        "model": model.get("name") if isinstance(model, dict) else model,
        "data": data.get("name") if isinstance(data, dict) else data,
        "seed": train.get("seed") if isinstance(train, dict) else None,
    }


def _kind(method: Any) -> str:
    return str(method.get("kind")) if isinstance(method, dict) else "base"


def _of_record(record: Record | None) -> dict[str, Any]:
    if record is None:
        return {**dict.fromkeys(FIELDS), "peak_bytes": None, "predicted_bytes": None, "peaks": {}, "sets": {}}
    found = {name: finite(getattr(record, name)) for name in FIELDS}
    return {
        **found,
        "stage": record.stage,
        "method": record.method,
        "model": record.model,
        "data": record.data,
        "seed": record.seed,
        "objective": finite(record.comparable_objective),
        "peak_bytes": record.peak_bytes,
        "predicted_bytes": record.predicted_peak_bytes,
        "peaks": {phase: getattr(record, f"peak_{phase}_bytes") for phase in ("load", "train", "eval")},
        "sets": {name: _of_set(each) for name, each in record.sets.items()},
    }


def _of_set(scored: SetRecord) -> dict[str, Any]:
    """The quality on a further evaluation set, or why it was not measured."""
    return {
        "quality": finite(scored.quality),
        "quality_name": scored.quality_name,
        "quality_unit": scored.quality_unit,
        "not_measured": scored.not_measured,
    }


def first_line(error: str | None) -> str | None:
    """The first line of an error, without secrets and control characters, cut where it is very long."""
    if not error:
        return None
    line = shown(redacted(error.strip().partition("\n")[0]))
    return line if len(line) <= ERROR_CHARACTERS else f"{line[:ERROR_CHARACTERS]}…"


def finite(value: Any) -> Any:
    """A value for JSON, which has neither NaN nor infinity."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def plain(value: Any) -> Any:
    """Settings for JSON: texts without secrets and control characters, no infinite numbers."""
    if isinstance(value, str):
        # Looking for secrets takes a millisecond; in a config they are parts of addresses.
        return shown(redacted(value)) if "://" in value else shown(value)
    if isinstance(value, Mapping):
        return {shown(str(key)): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return finite(value)
