"""Run folders for the pages of the UI: one with trials of every state, and as many more as are asked for."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from sweeps.ui.run_index import run_key
from tests.helpers import run_folders
from trainables import results
from trainables.storage import files


@dataclass(frozen=True)
class SmallRun:
    """A run by its folder, with the id of an ended trial, and the names that pages show of it."""

    folder: Path
    trial: str
    names: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def key(self) -> str:
        return run_key(str(self.folder.absolute()))


def write_runs(root: Path, name: str = "methods", trials: int = 6, steps: int = 5) -> SmallRun:
    """A run of two methods; every sixth trial failed, every seventh ran out of memory."""
    folder = root / name
    environment = {"name": name, "question": "Which method?", "command": f"paretune run {name}.yaml"}
    planned = {"sft-lora": (trials + 1) // 2, "sft-full": trials // 2}
    files.write_json(folder / "environment.json", {**environment, "plan": {"trials": planned}})
    for number in range(trials):
        _write_trial(folder, number, steps)
    results.write_tables(folder)
    return SmallRun(folder, f"{1:012x}", ("sft-lora", "sft-full", "lora", "full"))


def _write_trial(run: Path, number: int, steps: int) -> None:
    trial, method = f"{number + 1:012x}", "full" if number % 2 else "lora"
    settings = {
        "cell": f"sft-{method}", "role": "search", "method_name": method, "stage": {"kind": "sft"},
        "method": {"kind": method, **({"rank": 2 ** (1 + number % 5)} if method == "lora" else {})},
        "train": {"learning_rate": 1e-4 * (1 + number % 37), "steps": steps, "seed": number},
        "model": {"name": "tiny"}, "data": {"name": "rows"},
    }  # fmt: skip
    folder = run / "trials" / trial
    files.write_json(folder / "config.json", settings)
    points = [{"step": step, "name": "train_loss", "value": 2 / step} for step in range(1, steps + 1)]
    (folder / "curve.jsonl").write_text("".join(json.dumps(each) + "\n" for each in points))
    if number % 6 == 5 or number % 7 == 6:
        status = "out_of_memory" if number % 7 == 6 else "failed"
        record = run_folders.failed(trial, method, status=status, config=settings, error="Something broke.")
    else:
        quality = 0.5 + (number * 37 % 100) / 250
        record = run_folders.record(
            trial, method, config=settings, steps=steps, quality=quality, objective=quality
        )
    results.write_record(folder, record)
