"""Results of the real SmolLM2-135M taken away, by each way of merging: minutes, for `make slow`. Prints the checks."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gguf
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.helpers.exports import export_successfully, train_trial, trial_config
from trainables.models import locate

pytestmark = pytest.mark.slow
NAMES = ("full", "lora", "dora", "qlora-4bit", "qlora-8bit")


@pytest.fixture(scope="module")
def table(request: pytest.FixtureRequest) -> Iterator[list[str]]:
    found: list[str] = []
    yield found
    capture: Any = request.config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        print("", *found, sep="\n")


@pytest.mark.parametrize("name", NAMES)
def test_a_result_of_the_real_model_answers_the_same_after_the_export(
    name: str, tmp_path: Path, table: list[str]
) -> None:
    rate = 2e-4 if name == "full" else 2e-3
    config = trial_config(
        locate.fetch_model("smollm2-135m"),
        "commands",
        name,
        learning_rate=rate,
        steps=12,
        eval_rows=32,
        cutoff=128,
    )
    result = train_trial(config, tmp_path / "run")
    for options in ((), ("--dtype", "float32")):
        command = export_successfully(result, tmp_path / "out", "--force", "--shard-size", "100MB", *options)
        table.append(f"{name} {' '.join(options)}\n{command.stdout}")
    assert len(list((tmp_path / "out").glob("model-*.safetensors"))) > 3


@pytest.mark.skipif("LLAMA_CPP" not in os.environ, reason="$LLAMA_CPP names no checkout of llama.cpp")
def test_llama_cpps_converter_reads_an_export_and_its_file_answers_as_the_export_does(
    tmp_path: Path,
) -> None:
    config = trial_config(
        locate.fetch_model("smollm2-135m"),
        "commands",
        "lora",
        learning_rate=2e-3,
        steps=12,
        eval_rows=32,
        cutoff=128,
    )
    result = train_trial(config, tmp_path / "run")
    export_successfully(
        result, tmp_path / "out", "--dtype", "float32", "--no-verify", "--gguf", "f16", "--ollama"
    )
    workdir, there = (
        AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.float32, **options)
        for options in ({}, {"gguf_file": "model-f16.gguf"})
    )
    with torch.no_grad():
        for weight in workdir.parameters():
            if weight.dim() > 1:  # what is a list of numbers stays in 32 bits
                weight.copy_(weight.half())
    tokens = AutoTokenizer.from_pretrained(tmp_path / "out")("wake me at 7", return_tensors="pt").input_ids
    with torch.no_grad():
        ours, its = (model(tokens).logits.log_softmax(-1) for model in (workdir, there))
    assert (ours - its).abs().max() < 1e-3
    message = gguf.GGUFReader(tmp_path / "out" / "model-f16.gguf").get_field("tokenizer.chat_template")
    assert message is not None
    template = AutoTokenizer.from_pretrained(tmp_path / "out").chat_template
    assert message.contents() == template
