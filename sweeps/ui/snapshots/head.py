"""What is said of a run above its table: its state, counts, the best so far, its cells, problems."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from sweeps.runs.status import OUTSIDE, RunState, all_cells, cell_summary
from sweeps.ui.snapshots.activity import Activity
from sweeps.ui.snapshots.rows import finite, plain
from trainables.results import Record, best, tracker_pages
from trainables.system.redaction import redacted
from trainables.system.shown_text import shown

UNTRAINED = "base"


@dataclass(frozen=True)
class ReadRun:
    """What a reader knows of a run beside its state. ``statuses`` counts all trials, ``changed`` is the time of the
    newest file of one, in seconds since 1970.
    """

    key: str
    place: str
    folder: Path
    environment: Mapping[str, Any]
    statuses: Mapping[str, int]
    changed: float | None


def run_head(run: ReadRun, state: RunState, doing: Activity) -> dict[str, Any]:
    """Everything of a snapshot but its trials."""
    folder, environment = run.folder, run.environment
    trained = [record for record in state.records if record.role != UNTRAINED]
    counted = [record for record in trained if record.role not in OUTSIDE]
    head = {
        "key": run.key,
        "name": shown(str(environment.get("name") or run.place.rstrip("/").rpartition("/")[2])),
        "place": shown(run.place),
        "question": shown(str(environment.get("question") or "")) or None,
        "state": doing.state,
        "reason": shown(doing.reason) if doing.reason else None,
        "holder": shown(state.holder) if state.holder else None,
        "ended": len(counted),
        "total": max(state.total, len(counted)),
        "statuses": dict(sorted(run.statuses.items())),
        "failed": sum(record.status == "failed" for record in trained),
        "best": _best(state.records),
        "peak_bytes": max((r.peak_bytes for r in trained if r.peak_bytes is not None), default=None),
        "seconds": finite(environment.get("seconds")),
        "began": _began(folder, state.records),
        "changed": run.changed,
        "cells": [_cell(cell, state) for cell in all_cells(state)],
        "waits": [shown(wait) for wait in state.waits],
        "to_stop": [shown(trial) for trial in state.requests.stops],
        "to_add": [
            {
                **each.to_json(),
                "cell": shown(each.cell),
                "changes": [shown(change) for change in each.changes],
            }
            for each in state.requests.additions
        ],
        "first_comparison": _first_comparison(state),
        "damaged": [shown(redacted(problem)) for problem in (*state.damaged, *state.requests.damaged)],
        "notes": [shown(str(note)) for note in environment.get("notes") or ()],
        "pages": tracker_pages(folder),
        "report": (folder / "report" / "index.html").is_file(),
        "samples": (folder / "report" / "samples.html").is_file(),
        # A draft is made from files of this machine.
        "spec": (folder / "spec.yaml").is_file(),
    }
    return {name: plain(value) for name, value in head.items()}


def _cell(cell: str, state: RunState) -> dict[str, Any]:
    summary = cell_summary(cell, state)
    records = [record for record in state.records if record.cell == cell]
    return {
        "cell": shown(cell),
        "trials": summary["trials"],
        "searched": state.budgets.get(cell),
        "ended": len(records),
        "statuses": dict(Counter(record.status for record in records)),
        "best": _best(records),
        "peak_bytes": max((r.peak_bytes for r in records if r.peak_bytes is not None), default=None),
        "method": records[0].method if records else None,
        "running": sum(trial.cell == cell for trial in state.training),
    }


def _best(records: list[Record] | tuple[Record, ...]) -> dict[str, Any] | None:
    """The best trial of each cell by its objective, and of these the one of best quality of the most common measure."""
    cells = dict.fromkeys(record.cell for record in records)
    bests = [found for cell in cells if (found := best(r for r in records if r.cell == cell)) is not None]
    scored = [record for record in bests if record.quality is not None]
    if not scored:
        return None
    name, _ = Counter(record.quality_name for record in scored).most_common(1)[0]
    alike = [record for record in scored if record.quality_name == name]
    sign = -1 if alike[0].quality_higher_is_better is False else 1
    top = max(alike, key=lambda record: sign * (record.quality or 0.0))
    return {
        "trial": top.trial_id,
        "cell": shown(top.cell),
        "quality": finite(top.quality),
        "name": top.quality_name,
        "unit": top.quality_unit,
        "peak_bytes": top.peak_bytes,
    }


def _began(folder: Path, records: tuple[Record, ...]) -> float | None:
    """When the run began, in seconds since 1970: the start of its first trial, else the time of its spec's copy."""
    starts = [record.started_at for record in records if record.started_at]
    if starts:
        return datetime.fromisoformat(min(starts)).timestamp()
    try:
        return (folder / "spec.yaml").stat().st_mtime
    except OSError:
        return None


def _first_comparison(state: RunState) -> str | None:
    text = (state.first_comparison or {}).get("text")
    return shown(text) if isinstance(text, str) else None
