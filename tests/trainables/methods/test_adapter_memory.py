"""Memory of LoRA on some layers and of LoRA-FA, predicted by a traced step and measured."""

from __future__ import annotations

import json
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.trials import make_config, make_policy, write_rows
from trainables.memory import prediction
from trainables.memory.measurement import measure
from trainables.memory.prediction import predict_by_trace
from trainables.memory.step import MemoryPrediction
from trainables.memory.tracing import tracing_process
from trainables.memory.tracing.case import TracedCase
from trainables.memory.tracing.traced_pass import trace
from trainables.stages.forward_pass import Batch

LAST = {"kind": "lora", "layers": {"last": 1}}
FROZEN = {"kind": "lora", "frozen_a": True}


def predicted_of(model: Path, rows: Path, method: dict[str, Any]) -> MemoryPrediction:
    settings = json.loads((model / "config.json").read_text())
    return predict_by_trace(make_config(model, rows, method), settings, Batch(4, 64, 256), "cpu", "sdpa")


def test_a_quantized_base_takes_as_much_with_any_adapter_as_with_qlora(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prediction, "traced", trace)  # in this process
    rows = write_rows(tmp_path / "rows.jsonl")
    for bits in (4, 8):
        qlora, ia3, adalora = (
            predicted_of(tiny_model, rows, {**method, "bits": bits})
            for method in (
                {"kind": "qlora", "rank": 4},
                {"kind": "peft", "type": "ia3"},
                {"kind": "peft", "type": "adalora"},  # in 8 bits, too: what can be scored is another question
            )
        )
        assert qlora.quantization == ia3.quantization == adalora.quantization > 0
        # Of each weight that trains there are 4 bytes, 8 of AdamW's state, and 12 of adalora's importances.
        held = [each.weights - each.optimizer / 2 for each in (qlora, ia3)]
        held.append(adalora.weights - adalora.optimizer / 5)
        assert held[0] == held[1]
        assert held[2] == pytest.approx(held[0], rel=0.01)  # and a number for each layer


def test_states_are_those_of_what_trains(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prediction, "traced", trace)  # in this process
    rows = write_rows(tmp_path / "rows.jsonl")
    predicted = partial(predicted_of, tiny_model, rows)
    plain = predicted({"kind": "lora"})
    for method in (LAST, FROZEN):
        found = measure(make_config(tiny_model, rows, method))
        parts = predicted(method)
        assert parts.optimizer == 2 * found.gradient_bytes
        assert parts.optimizer < plain.optimizer
        # Inputs of A are kept only where A trains, and nothing below the lowest adapter.
        assert parts.activations < plain.activations
    # A is held in 16 bits then, 2 bytes less each, and has no state of 8 bytes.
    frozen = predicted(FROZEN)
    assert plain.weights - frozen.weights == (plain.optimizer - frozen.optimizer) / 4


@pytest.mark.parametrize(
    "options", [{"type": "shira", "r": 2}, {"type": "vblora", "vector_length": 4, "num_vectors": 16}]
)
def test_adapters_that_ask_for_contents_are_traced(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    monkeypatch.setattr(prediction, "traced", trace)  # in this process
    rows = write_rows(tmp_path / "rows.jsonl")
    found = predicted_of(tiny_model, rows, {"kind": "peft", **options})
    plain = predicted_of(tiny_model, rows, {"kind": "peft", "type": "ia3"})
    # Each holds more than three vectors a layer, and shira a copy of each weight for the backward pass.
    assert found.weights > plain.weights
    assert found.activations > plain.activations


@pytest.mark.parametrize(
    "options",
    [
        {"type": "adaption_prompt", "adapter_len": 3, "adapter_layers": 2},
        {"type": "hra", "r": 2, "layers_to_transform": [1]},
    ],
)
def test_memory_is_measured_of_adapters_on_layers_that_a_rehearsal_lacks(
    tiny_model: Path, tmp_path: Path, options: dict[str, Any]
) -> None:
    found = measure(make_config(tiny_model, write_rows(tmp_path / "rows.jsonl"), {"kind": "peft", **options}))
    assert found.peak_train_bytes
    assert found.optimizer_bytes


def test_as_many_weights_train_in_a_traced_step_as_in_a_trial(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prediction, "traced", trace)  # in this process
    rows = write_rows(tmp_path / "rows.jsonl")
    method = {"kind": "peft", "type": "waveft", "n_frequency": 50}  # whose layers index by flags
    traced = predicted_of(tiny_model, rows, method)
    policy = make_policy(make_config(tiny_model, rows, method)).model
    assert traced.optimizer == 8 * sum(each.numel() for each in policy.parameters() if each.requires_grad)


@pytest.mark.parametrize("kind", ["adamss", "frod"])
def test_what_a_trace_lacks_is_said_in_words(tiny_model: Path, tmp_path: Path, kind: str) -> None:
    settings = json.loads((tiny_model / "config.json").read_text())
    config = make_config(tiny_model, write_rows(tmp_path / "rows.jsonl"), {"kind": "peft", "type": kind})
    case = TracedCase.of_trial(config, settings, Batch(4, 64, 256), "sdpa")
    assert tracing_process._result({"trace": asdict(case)}) == {
        "problem": f"{kind} needs the values of the model's weights before it trains, which no plan loads"
    }


def test_logits_of_adalora_are_those_of_any_adapter(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prediction, "traced", trace)  # in this process
    rows = write_rows(tmp_path / "rows.jsonl")
    adalora, plain = (
        predicted_of(tiny_model, rows, {"kind": "peft", "type": kind}) for kind in ("adalora", "ia3")
    )
    assert adalora.logits == plain.logits
