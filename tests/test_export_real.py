"""Results of the real SmolLM2-135M taken away, by each way of merging: minutes, for `make slow`. Prints the checks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from export_example import config_of, exported, trained

from trainables import models

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
def test_a_result_of_the_real_model_answers_the_same_once_it_is_taken_away(
    name: str, tmp_path: Path, table: list[str]
) -> None:
    rate = 2e-4 if name == "full" else 2e-3
    config = config_of(
        models.fetch("smollm2-135m"), "commands", name, learning_rate=rate, steps=12, eval_rows=32, cutoff=128
    )
    result = trained(config, tmp_path / "run")
    for options in ((), ("--dtype", "float32")):
        ended = exported(result, tmp_path / "out", "--force", "--shard-size", "100MB", *options)
        table.append(f"{name} {' '.join(options)}\n{ended.stdout}")
    assert len(list((tmp_path / "out").glob("model-*.safetensors"))) > 3
