"""What a report says of runs as they stand now, as plain values for programs: nothing is written.

current_values([Path("runs/methods")])["answers"][0]["sentences"]
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from reports.analysis.cells import Cell, collect_cells
from reports.analysis.group import Group
from reports.analysis.peft_results import read_peft_results
from reports.analysis.search.importance import importance
from reports.pages.report import build_report, report_values
from reports.text import LANGUAGES, translated
from trainables import results
from trainables.results import Run

FORMAT = 1  # of these values; it counts up where a key changes its meaning or goes
RUN_FILES = ("trials", "environment.json", "trials.parquet")  # any of which a run folder has
WITHOUT_RESULT = ("failed", "out_of_memory")


def current_values(
    runs: Sequence[Path],
    claims: Sequence[Mapping[str, Any]] = (),
    peft_results: Path | None = None,
) -> dict[str, Any]:
    """The content of ``report.json``, with the groups, each setting's importance and the trials without a result.

    The trials themselves are read, whether their run has ended or not. ``claims``: to answer beside those of the runs.
    ``peft_results``: a folder of PEFT's result files, which stand beside.

    Raises ``ValueError`` for runs that can't be compared and a folder without result files, ``FileNotFoundError`` for
    one that is no run, and ``DamagedFile``.
    """
    for run in runs:
        if not any((run / name).exists() for name in RUN_FILES):
            raise FileNotFoundError(f"{run}: is it a run folder (runs/NAME)? It holds no trials and no spec")
    read = [results.gather_run(run) for run in runs]
    others = read_peft_results(peft_results) if peft_results is not None else None
    report = build_report(read, claims, others)
    values = report_values(report) | {
        "format": FORMAT,
        "question": report.question,
        "facts": report.facts,
        "unfinished_sentence": report.unfinished_sentence,
        "groups": [_group_values(group) for group in (*report.across_stages, *report.groups)],
        "importance": [_importance_values(cell) for cell in collect_cells(report.runs) if not cell.is_base],
        "failures": [failure for run in report.runs for failure in _failures(run)],
    }
    return _finite(values)


def _group_values(group: Group) -> dict[str, Any]:
    measured = group.metric_record
    return {
        "title": group.title,
        "stage": group.stage,
        "model": group.model,
        "data": group.data,
        "cells": [row.cell.label for row in group.rows],
        "bases": [row.cell.label for row in group.bases],
        "quality_name": measured.quality_name if measured is not None else None,
        "quality_unit": group.unit,
        "higher_is_better": group.higher_is_better if measured is not None else None,
        "margin": group.margin,
    }


def _importance_values(cell: Cell) -> dict[str, Any]:
    """How much each searched setting mattered; ``reason``: why that is not known; ``translations``: the reasons."""
    found = importance(cell)
    return {
        "cell": cell.label,
        "run": cell.run.name,
        "shares": found.shares,
        "like_noise": list(found.like_noise),
        "not_explained": found.not_explained,
        "trials": found.trials,
        "reason": found.reason,
        "translations": {language: translated(found.reason, language) for language in LANGUAGES},
    }


def _failures(run: Run) -> list[dict[str, Any]]:
    return [
        {
            "run": run.name,
            "trial_id": record.trial_id,
            "cell": record.cell,
            "status": record.status,
            "error": record.error,
        }
        for record in run.records
        if record.status in WITHOUT_RESULT
    ]


def _finite(value: Any) -> Any:
    """The values with ``None`` for numbers that JSON has not: a diverged loss may be infinite."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
