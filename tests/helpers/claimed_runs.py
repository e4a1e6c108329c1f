"""Run folders of three methods with claims, and what a report finds of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from reports.claims.finding import Finding
from reports.pages.report import build_report
from tests.helpers.run_folders import MIB, record, write_run, write_scores
from trainables import results

ROWS = 200
SEEDS = 3
PROMPTS = [json.dumps([{"role": "user", "content": f"row {row}"}]) for row in range(ROWS)]
WITHIN = {"kind": "within", "a": "lora", "b": "full", "margin": 0.05, "added": False}
BETTER = {"kind": "better", "a": "full", "b": "freeze", "added": False}
# How many of the first rows each method gets right: all seeds nearly the same.
RIGHT = {"full": 160, "lora": 159, "freeze": 80}
PEAKS = {"full": 1000, "lora": 400, "freeze": 390}


def make_run(folder: Path, *claims: dict[str, Any], seeds: int = SEEDS, **changes: Any) -> Path:
    """A run of three methods, each with a searched trial and finalists."""
    scores: dict[str, list[float]] = {}
    trials = []
    for method, right in RIGHT.items():
        for number in range(seeds + 1 if seeds > 1 else 1):
            name = f"{method}-{number}"
            scores[name] = [1.0] * (right + number % 2) + [0.0] * (ROWS - right - number % 2)
            quality = sum(scores[name]) / ROWS
            more = {"role": "finalist" if number else "search", "seed": number, "test_rows": ROWS}
            peak = {"peak_train_bytes": PEAKS[method] * MIB}
            trials.append(record(name, method, quality=quality, **more | peak | changes))
    run = write_run(folder, trials, claims=list(claims))
    for name, values in scores.items():
        write_scores(run, name, values, prompt=PROMPTS)
    return run


def found(run: Path, *further: dict[str, Any]) -> list[Finding]:
    return list(build_report([results.read_run(run)], further).findings)
