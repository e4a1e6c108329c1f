"""A sweep of an encoder on real Ray: masked tokens and labels by four methods, and the use of its classifiers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from tests.helpers.evaluations import evaluation, metrics
from tests.helpers.exports import export_successfully
from tests.helpers.small_runs import trial_id_of
from tests.helpers.sweep_runs import Sweep
from tests.helpers.sweeps import records
from tests.helpers.tiny_encoders import make_encoder

pytestmark = [pytest.mark.sweep, pytest.mark.timeout(1200)]

SPEC = """\
name: tiny
question: Does an encoder run?
model: {path: MODEL}
data: {train: rows.jsonl, eval_fraction: 0.3, cutoff: 32}
stages:
  - {kind: pretrain, objective: mlm}
  - {kind: classification}
methods:
  - {kind: full}
  - {kind: freeze, name: probe, layers: 0, head: true}
  - {kind: lora, rank: 4}
  - {kind: qlora, rank: 4}
train: {steps: 8, batch_size: 4, learning_rate: 0.01, precision: fp32}
search: {trials: 1, scheduler: none}
resources: {cpus: 1, concurrent: 2}
tracking: {wandb: off}
finalists: {seeds: 1}
"""
METHODS = ("full", "probe", "lora", "qlora-4bit")
ROWS = [
    {"text": f"{say} {n}", "label": label}
    for n in range(40)
    for say, label in (("set an alarm for", "alarm"), ("play song", "music"))
]


@pytest.fixture(scope="module")
def sweep(new: Callable[..., Sweep], tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    model = make_encoder(tmp_path_factory.mktemp("encoder") / "model", "bert")
    made = new(SPEC.replace("MODEL", str(model)), ROWS)
    assert made.carry_out().process.returncode == 0, made.command.stderr
    return made


def predictions(run: Path, cell: str) -> list[dict[str, Any]]:
    return pq.read_table(run / "trials" / trial_id_of(run, cell) / "predictions.parquet").to_pylist()


def text_of(row: dict[str, Any]) -> str:
    (message,) = json.loads(row["prompt"])
    return str(message["content"])


def test_each_method_learns_masked_tokens_and_labels_and_the_report_has_both(sweep: Sweep) -> None:
    found = {record.cell: record for record in records(sweep.run).values()}
    for stage, quality in (("pretrain", "masked_loss"), ("classification", "macro_f1")):
        names = [f"{stage}-{method}" for method in (*METHODS, "base")]
        assert {found[name].status for name in names} == {"done"}
        assert {found[name].quality_name for name in names} == {quality}
        assert all(found[name].peak_train_bytes for name in names[:-1])
    assert found["classification-full"].metrics["roc_auc"] is not None

    summary = (sweep.run / "report" / "summary.md").read_text()
    assert all(word in summary for word in ("masked", "macro-F1", *METHODS))
    page = (sweep.run / "report" / "index.html").read_text()
    assert all(label in page for label in ("alarm", "music"))
    assert "took for which" in page


def test_its_classifiers_are_evaluated_as_their_trials_were(
    sweep: Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for cell in ("classification-lora", "pretrain-lora"):
        (record,) = (each for each in records(sweep.run).values() if each.cell == cell)
        assert metrics(evaluation(f"{sweep.run}:{cell}"))[str(record.quality_name)] == record.quality


# Not of a quantized base: export merges its adapter into the unquantized one, which takes some rows otherwise.
@pytest.mark.parametrize("method", METHODS[:3])
def test_an_exported_classifier_gives_with_plain_transformers_the_labels_of_its_trial(
    sweep: Sweep, tmp_path: Path, method: str
) -> None:
    cell = f"classification-{method}"
    export_successfully(f"{sweep.run}:{cell}", tmp_path / "out")

    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "out").eval()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert model.config.id2label == {0: "alarm", 1: "music"}
    for row in predictions(sweep.run, cell):
        with torch.no_grad():
            logits = model(**tokenizer(text_of(row), return_tensors="pt")).logits[0]
        assert model.config.id2label[int(logits.argmax())] == row["prediction"]
