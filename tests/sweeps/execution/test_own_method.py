"""The example of a method of one's own in ``trainables/README.md``: planned, swept, measured, reported and exported."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.own_methods import KIND, example
from tests.helpers.sweeps import paretune, records
from trainables.trial.config import read_config

pytestmark = [pytest.mark.sweep, pytest.mark.timeout(1200)]

CELLS = {"sft-lora", "sft-NormTuning-norms", "sft-NormTuning-attention"}
MODULE, SPEC = example()
# The page's spec on the tests' model, of as few steps as show that it trains.
TINY = (
    SPEC.replace("model: smollm2-135m", "model: {path: %(model)s}")
    .replace("train: commands, cutoff: 128", "train: rows.jsonl, eval_fraction: 0.3, cutoff: 64")
    .replace("steps: 20", "steps: 2")
    .replace("trials: 2", "trials: 1")
    + "resources: {cpus: 1, concurrent: 1}\nfinalists: {seeds: 1}\ntracking: {wandb: off}\n"
)


def test_the_page_s_example_is_short() -> None:
    assert len(MODULE.splitlines()) + len(SPEC.splitlines()) <= 60


def test_the_page_s_example_is_planned_swept_measured_reported_and_exported(new: Any, tmp_path: Path) -> None:
    sweep = new(TINY)
    (sweep.spec.parent / "norms.py").write_text(MODULE)
    planned = paretune(sweep.home, "plan", sweep.spec, "--json")
    found = json.loads(planned.stdout)
    assert {cell["cell"] for cell in found["cells"]} == CELLS
    assert [note for note in found["notes"] if f"{KIND} is code of yours" in note]

    run = sweep.run.with_name("norms")
    command = sweep.carry_out()
    assert command.process.returncode == 0, command.stderr
    of_cells = {record.cell: record for record in records(run).values()}
    assert of_cells.keys() - {"sft-base"} == CELLS
    for cell in CELLS:
        record = of_cells[cell]
        assert (record.status, record.error) == ("done", None)
        assert record.peak_train_bytes
        assert record.predicted_peak_bytes
    norms, attention = (of_cells[f"sft-NormTuning-{part}"] for part in ("norms", "attention"))
    assert norms.trainable_params < attention.trainable_params < attention.total_params

    # What follows has no code: neither the page's file nor the copy in the run.
    (sweep.spec.parent / "norms.py").unlink()
    config = read_config(run / "trials" / norms.trial_id)
    assert config.method.kind == KIND  # type: ignore[union-attr]
    for words in (("status", run), ("report", run)):
        assert paretune(sweep.home, *words).process.returncode == 0
    page = (run / "report/index.html").read_text(encoding="utf-8")
    assert "sft-NormTuning-norms" in page or "NormTuning-norms" in page
    out = tmp_path / "out"
    exported = paretune(sweep.home, "export", f"{run}:sft-NormTuning-norms", out)
    assert exported.process.returncode == 0, exported.stderr
    assert (out / "config.json").is_file()
    assert list(out.glob("*.safetensors"))
