"""Run folders whose trials were scored on a further evaluation set of running text, ``general``."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from reports.claims.finding import Finding
from reports.pages.report import build_report
from tests.helpers.run_folders import MIB, record, write_run, write_scores
from trainables import results
from trainables.results import set_file

ROWS, TEXTS = 200, 60
PROMPTS = [json.dumps([{"role": "user", "content": f"row {row}"}]) for row in range(ROWS)]
FORGETS = {"kind": "forgets_less", "a": "lora", "b": "full", "added": False}
RIGHT = {"full": 160, "lora": 158, "freeze": 80, "base": 10}
BEFORE = 3.0  # nats per token, of the untuned model
ROSE = {"full": 0.5, "lora": 0.1, "freeze": 0.1, "base": 0.0}  # by how much the loss on the texts is higher
TOKENS = [float(20 + row % 7) for row in range(TEXTS)]


def text_losses(method: str, seed: int) -> list[float]:
    """The loss of each text after training: that before, which differs from text to text, and a rise."""
    dice, own = random.Random(0), random.Random(f"{method} {seed}")
    before = [BEFORE + dice.gauss(0, 0.5) for _ in range(TEXTS)]
    noise = 0.0 if method == "base" else 0.01
    return [each + ROSE[method] + own.gauss(0, noise) + noise * seed for each in before]


def make_run(
    folder: Path, *claims: dict[str, Any], seeds: int = 3, methods: tuple[str, ...] = tuple(RIGHT)
) -> Path:
    """The untuned model, and of each method a searched trial with finalists of as many seeds."""
    scores: dict[str, tuple[str, int]] = {}
    trials = []
    for method in methods:
        for number in range(1 if method == "base" or seeds < 2 else seeds + 1):
            trial = f"{method}-{number}"
            scores[trial] = method, number
            losses = text_losses(method, number)
            loss = sum(a * b for a, b in zip(losses, TOKENS, strict=True)) / sum(TOKENS)
            general = {
                "source": "text.txt", "rows": TEXTS, "quality": loss, "quality_name": "loss", "seconds": 2.0,
                "quality_unit": "nats per token", "quality_higher_is_better": False, "metrics": {"loss": loss},
            }  # fmt: skip
            changes: dict[str, Any] = {"quality": RIGHT[method] / ROWS, "test_rows": ROWS, "seed": number}
            changes |= {"sets": {"general": general}, "peak_train_bytes": (300 + RIGHT[method]) * MIB}
            config = record(trial, method).config | {"data": {"eval": {"mine": None, "general": "text.txt"}}}
            role = "base" if method == "base" else "finalist" if number else "search"
            trials.append(record(trial, method, **changes, role=role, config=config))
    run = write_run(folder, trials, claims=list(claims))
    for trial, (method, number) in scores.items():
        write_scores(run, trial, [1.0] * RIGHT[method] + [0.0] * (ROWS - RIGHT[method]), prompt=PROMPTS)
        rows = [
            {"row": row, "prompt": "[]", "reference": f"text {row}", "prediction": None, "score": loss}
            | {"weight": TOKENS[row]}
            for row, loss in enumerate(text_losses(method, number))
        ]
        pq.write_table(pa.Table.from_pylist(rows), run / "trials" / trial / set_file("general"))
    return run


def change_sets(run: Path, change: Callable[[str, dict[str, Any]], dict[str, Any]]) -> None:
    """Replaces what each trial scored on ``general`` by what ``change`` makes of it and the trial's method."""
    for file in run.glob("trials/*/record.json"):
        trial = json.loads(file.read_text())
        trial["sets"] = {"general": change(trial["method"], trial["sets"]["general"])}
        file.write_text(json.dumps(trial))
    results.write_tables(run)


def found(run: Path) -> list[Finding]:
    return list(build_report([results.read_run(run)]).findings)
