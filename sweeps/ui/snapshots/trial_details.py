"""Everything that the page of one trial shows."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeps.ui.snapshots.curves import thinned
from sweeps.ui.snapshots.failure_kinds import failure_kind
from sweeps.ui.snapshots.rows import finite, plain
from sweeps.ui.snapshots.snapshot import RunSnapshot
from trainables.results import Record
from trainables.storage.damaged_files import DamagedFile
from trainables.storage.regular_files import tail
from trainables.system.redaction import redacted
from trainables.system.shown_text import shown

if TYPE_CHECKING:
    from sweeps.ui.snapshots.reader import RunReader
    from sweeps.ui.snapshots.trial_files import TrialFiles

MAX_FILES = 300
TRACE_BYTES = 40_000
COMPLETE = "complete.json"  # a checkpoint's marker (trainables/training/checkpoints.py)
BYTES = ("baseline", "weight", "gradient", "optimizer", "reference", "reserved", "artifact")
FACTS = (
    *(
        "trainable_params",
        "total_params",
        "tokens",
        "kept_step",
        "setup_seconds",
        "train_seconds",
        "eval_seconds",
        "device",
    ),
    *("host", "slot", "attention", "kernels", "compiled", "padding_share", "memory_source", "room_bytes"),
    *("out_of_memory_in", "commit", "started_at", "ended_at", "start_cell", "start_trial", "test_rows"),
)


def trial_details(reader: RunReader, snapshot: RunSnapshot, trial: str) -> dict[str, Any]:
    """The trial's row, settings, curves, measures with their units, memory, place among the others, and error."""
    files = reader.trials[trial]
    with suppress(DamagedFile):  # its row says so
        files.curve.update()
    record = files.record
    details = {
        "row": snapshot.rows.get(trial),
        "settings": reader.table.settings.all(trial),
        "columns": list(snapshot.columns),
        "curves": {name: thinned(points) for name, points in sorted(files.curve.points.items())},
        "metrics": _metrics(record),
        "units": _units(record),
        "memory": _memory(record),
        "facts": _facts(record),
        "stop_kind": failure_kind(record.stop_reason) if record is not None else None,
        "place": _place(snapshot.rows, trial),
        "error": _error(files),
    }
    return {name: value if name == "curves" else plain(value) for name, value in details.items()}


def _facts(record: Record | None) -> dict[str, Any]:
    """Facts of the record, and why the trial was done before its last step."""
    if record is None:
        return {}
    found = {name: _fact(getattr(record, name)) for name in FACTS}
    return found | ({"stop_reason": record.stop_reason} if record.ended_early else {})


def _metrics(record: Record | None) -> dict[str, Any]:
    """The measures on the test rows, and as ``general: loss`` those on further evaluation sets."""
    if record is None:
        return {}
    found = {name: finite(value) for name, value in record.metrics.items()}
    for name, each in record.sets.items():
        found |= {f"{name}: {measure}": finite(value) for measure, value in each.metrics.items()}
    return found


def _units(record: Record | None) -> dict[str, str]:
    """The units of the measures by which the trial and its further evaluation sets are judged."""
    if record is None:
        return {}
    found = {f"{name}: {each.quality_name}": each.quality_unit for name, each in record.sets.items()}
    if record.quality_name and record.quality_unit:
        found[record.quality_name] = record.quality_unit
    return found


def _memory(record: Record | None) -> dict[str, Any]:
    if record is None:
        return {}
    parts = {name: getattr(record, f"{name}_bytes") for name in BYTES}
    phases = {phase: getattr(record, f"peak_{phase}_bytes") for phase in ("load", "train", "eval")}
    return {"phases": phases, "predicted": record.predicted_peak_bytes, "parts": parts}


def _fact(value: Any) -> Any:
    return shown(value) if isinstance(value, str) else finite(value)


def _place(rows: Mapping[str, dict[str, Any]], trial: str) -> dict[str, Any] | None:
    """The trial's rank by its objective among those of its cell's search that are done, and what it lacks to the best;
    ``None`` where it has none.
    """
    row = rows.get(trial)
    if row is None or row["objective"] is None or row["status"] != "done":
        return None
    others = [
        each
        for each in rows.values()
        if each["cell"] == row["cell"] and each["role"] == "search" and each["status"] == "done"
    ]
    compared = [each for each in others if each["objective"] is not None] or [row]
    best = max(compared, key=lambda each: each["objective"])
    quality = None
    if (
        best["quality"] is not None
        and row["quality"] is not None
        and best["quality_name"] == row["quality_name"]
    ):
        quality = row["quality"] - best["quality"]
    return {
        "rank": 1 + sum(each["objective"] > row["objective"] for each in compared if each["id"] != trial),
        "of": len(compared) + (trial not in {each["id"] for each in compared}),
        "best": best["id"],
        "objective_gap": row["objective"] - best["objective"],
        "quality_gap": quality,
    }


def _error(files: TrialFiles) -> dict[str, str] | None:
    """The error of the record, and the trace beside it."""
    message = files.record.error if files.record is not None else files.damaged
    trace = shown(redacted(tail(files.folder / "error.txt", TRACE_BYTES)))
    if not message and not trace:
        return None
    return {"message": shown(redacted(message or "")), "trace": trace}


def files_of(folder: Path) -> dict[str, Any]:
    """A trial's files by their names within its folder, and its checkpoints."""
    found, more = list[dict[str, Any]](), 0
    for name, size in _walk(folder):
        if len(found) < MAX_FILES:
            found.append({"name": shown(name), "bytes": size})
        else:
            more += 1
    checkpoints: dict[str, dict[str, Any]] = {}
    for each in found:
        top, _, rest = each["name"].partition("/")
        if top.startswith("checkpoint-"):
            known = checkpoints.setdefault(
                top, {"name": top, "step": _step(top), "bytes": 0, "complete": False}
            )
            known["bytes"] += each["bytes"]
            known["complete"] = known["complete"] or rest == COMPLETE
    ordered = sorted(checkpoints.values(), key=lambda each: each["step"] or 0)
    return {"files": found, "more_files": more, "checkpoints": ordered}


def _walk(folder: Path) -> Iterator[tuple[str, int]]:
    # Links are not followed: what they lead to is no file of the trial.
    for place, folders, names in os.walk(folder, followlinks=False):
        folders.sort()
        for name in sorted(names):
            path = Path(place) / name
            if not path.is_symlink() and path.is_file():
                yield str(path.relative_to(folder)), path.stat().st_size


def _step(name: str) -> int | None:
    number = name.removeprefix("checkpoint-")
    return int(number) if number.isdecimal() else None
