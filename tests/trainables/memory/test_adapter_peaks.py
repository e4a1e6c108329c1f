"""Peaks of PEFT's adapter types, LoRA's variants, optimizers and layer-wise methods: measured on SmolLM2's layers, and
as predicted.

python -m tests.trainables.memory.test_adapter_peaks [--layers N] [--precision fp32] [NAME ...]      prints the table
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.trials import make_config
from tests.trainables.memory.test_prediction import MIB, long_rows
from trainables.config.model import ModelConfig
from trainables.memory.measuring_process import MeasuringFailed, MeasuringProcess
from trainables.methods import peft_options
from trainables.models import locate

# Sizes that divide those of SmolLM2's layers, and what a type can't be without.
OPTIONS: dict[str, dict[str, Any]] = {
    "adaption_prompt": {"adapter_len": 10, "adapter_layers": 8},
    "c3a": {"block_size": 64},
    "gralora": {"r": 8},
    "oft": {"oft_block_size": 32, "r": 0},
    "p_tuning": {"num_virtual_tokens": 20, "encoder_hidden_size": 128},
    "prefix_tuning": {"num_virtual_tokens": 20},
    "prompt_tuning": {"num_virtual_tokens": 20},
    "trainable_tokens": {"token_indices": [5, 6, 7]},
    "vblora": {"vector_length": 64, "num_vectors": 256},
}
LORA: dict[str, dict[str, Any]] = {
    "lora": {},
    "lora, last 2 layers": {"layers": {"last": 2}},
    "lora, without down_proj": {"exclude": ["down_proj"]},
    "lora, frozen A": {"frozen_a": True},
    "dora": {"dora": True},
}
OPTIMIZERS: dict[str, dict[str, Any]] = {
    "adamw": {"kind": "adamw"},
    "adamw, 8 bits": {"kind": "adamw", "bits": 8},
    "adamw, 4 bits": {"kind": "adamw", "bits": 4},
    **{
        kind: {"kind": kind}
        for kind in ("adafactor", "lion", "ademamix", "muon", "schedule_free", "stable_adamw")
    },
    **{kind: {"kind": kind, "rank": 128, "update_every": 1} for kind in ("galore", "apollo")},
    "apollo_mini": {"kind": "apollo_mini", "update_every": 1},
    **{kind: {"kind": kind} for kind in ("lomo", "adalomo")},
}
LAYER_WISE = {"lisa": {"kind": "lisa", "layers": 2, "every": 1}, "badam": {"kind": "badam", "every": 1}}
TYPES = [name for name in peft_options.known_types() if name not in peft_options.REFUSED]
ALL = [*LORA, *TYPES, *OPTIMIZERS, *LAYER_WISE]


def settings(name: str) -> dict[str, Any]:
    """Those of ``train`` that belong to a name of the table."""
    if name not in OPTIMIZERS:
        return {}
    # Of those that update in the backward pass, none clips gradients.
    return {"optimizer": OPTIMIZERS[name], "max_grad_norm": None}


def method(name: str) -> dict[str, Any]:
    if name in OPTIMIZERS:
        return {"kind": "full"}
    if name in LAYER_WISE:
        return LAYER_WISE[name]
    if name in LORA:
        return {"kind": "lora", **LORA[name]}
    return {"kind": "peft", "type": name, **OPTIONS.get(name, {})}


def first_layers(folder: Path, layers: int | None) -> Path:
    """SmolLM2 with its first ``layers`` alone, written to ``folder``; the whole model where none are named."""
    whole = locate.model_folder(ModelConfig(name="smollm2-135m"), fetch=True)
    if layers is None:
        return whole
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model: Any = AutoModelForCausalLM.from_pretrained(whole)
    model.model.layers = model.model.layers[:layers]
    model.config.num_hidden_layers = layers
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(whole).save_pretrained(folder)
    return folder


def peaks(
    names: Sequence[str], layers: int | None, precision: str = "bf16"
) -> Iterator[tuple[str, int | None, int | None, str]]:
    """(adapter, measured and predicted peak in bytes, why one is missing) of each, with 2 rows of 128 tokens."""
    measuring = MeasuringProcess()
    with tempfile.TemporaryDirectory() as folder:
        model = first_layers(Path(folder) / "model", layers)
        rows = long_rows(Path(folder) / "long.jsonl")
        for name in names:
            config = make_config(
                model, rows, method(name), cutoff=128, eval_rows=2, batch_size=2, precision=precision,
                stage={"eval_batch": 1}, **settings(name),
            )  # fmt: skip
            try:
                found = measuring.measure(config)
            except MeasuringFailed as error:
                yield name, None, None, str(error)
                continue
            why = "" if found["predicted_peak_bytes"] else "unknown"
            yield name, found["peak_train_bytes"], found["predicted_peak_bytes"], why
    measuring.close()


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_every_adapter_and_optimizer_is_predicted_within_ten_percent() -> None:
    wrong = {}
    for name, measured, predicted, why in peaks(ALL, 4):
        print(line(name, measured, predicted, why), flush=True)
        if measured is None or (predicted is not None and abs(predicted / measured - 1) > 0.1):
            wrong[name] = why or f"{predicted / measured - 1:+.1%}"  # type: ignore[operator]
    assert not wrong


def line(name: str, measured: int | None, predicted: int | None, why: str) -> str:
    """A line of the table, in MiB."""
    if measured is None or predicted is None:
        shown = "failed" if measured is None else f"{measured / MIB:.1f}"
        return f"| {name} | {shown} | {why[:200]} | |"
    return f"| {name} | {measured / MIB:.1f} | {predicted / MIB:.1f} | {predicted / measured - 1:+.1%} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layers", type=int, help="SmolLM2's first layers; by default all 30")
    parser.add_argument("--precision", default="bf16", choices=("bf16", "fp32"))
    parser.add_argument("names", nargs="*", help="rows of the table; by default all")
    options = parser.parse_args()
    print("| adapter | measured, MiB | predicted, MiB | |\n|---|---|---|---|")
    for found in peaks(options.names or ALL, options.layers, options.precision):
        print(line(*found), flush=True)


if __name__ == "__main__":
    main()
