"""Run folders whose every text is what an attacker would write: markup, templates, control characters, secrets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sweeps.runs.layout import LOG
from tests.helpers import run_folders
from trainables import results
from trainables.storage import files

SCRIPT = "<script>window.attacked = 1</script>"
MARKUP = f'"\'><img src=x onerror="window.attacked=1">{SCRIPT}</script><!--'
TEMPLATE = "{{ 7*7 }}{% raw %}${7*7}"
LINK = "javascript:window.attacked=1"
CONTROL = "\x1b]0;title\x07\x08\u202egnp.exe\u2066\x00"
ODD = f"{MARKUP} {TEMPLATE} {LINK} {CONTROL}"
SECRET = "hf_" + "S3cretTokenOfAPerson" + "abcdefgh"  # shaped as a token is
CELL = f"sft-{MARKUP}".replace("/", "")  # a record whose cell has a slash is damaged
TRIAL, BROKEN = "a" * 12, "b" * 12


def config(**changes: Any) -> dict[str, Any]:
    return {
        "cell": CELL, "role": "search", "method_name": MARKUP, "stage": {"kind": "sft"},
        "method": {"kind": "lora", "rank": 8, "targets": [ODD]},
        "train": {"learning_rate": 1e-3, "steps": 3, "note": ODD},
        "model": {"name": ODD, "path": ODD}, "data": {"name": ODD, "train": ODD},
    } | changes  # fmt: skip


def write(run: Path) -> Path:
    """A run with one ended and one failed trial."""
    environment = {"name": ODD, "question": ODD, "command": f"paretune run {ODD}", "paretune": ODD}
    files.write_json(run / "environment.json", environment)
    good = run_folders.record(TRIAL, config=config(), cell=CELL, method=MARKUP, model=ODD, data=ODD)
    error = f"ValueError: {ODD} HF_TOKEN={SECRET}"
    bad = run_folders.failed(BROKEN, config=config(), cell=CELL, method=MARKUP, error=error)
    for record in (good, bad):
        folder = run / "trials" / record.trial_id
        files.write_json(folder / "config.json", record.config)
        results.write_record(folder, record)
        (folder / "error.txt").write_text(error)
        points = [{"step": 1, "name": name, "value": 0.5} for name in ("train_loss", MARKUP)]
        (folder / "curve.jsonl").write_text("".join(json.dumps(each) + "\n" for each in points))
    answers: dict[str, list[Any]] = {"messages": [ODD, ODD]}
    run_folders.write_scores(run, TRIAL, [0.0, 1.0], reference=ODD, **answers)
    results.write_tables(run)
    (run / LOG).write_text(f"12:00:00 {ODD}\n12:00:01 HF_TOKEN={SECRET}\n")
    (run / "spec.yaml").write_text(f"name: x # {SCRIPT}\n")
    report = run / "report"
    report.mkdir()
    (report / "index.html").write_text(f"<!doctype html>{SCRIPT}")
    return run
