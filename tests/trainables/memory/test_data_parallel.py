"""The predicted memory of each of several workers, and how many workers a trial needs to fit."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sweeps.cluster.packing import Machine, Size
from sweeps.planning.cell import Cell
from sweeps.planning.memory.cell_memory import CellMemory, ConfigMemory
from sweeps.planning.resources.sizes import Sizes
from tests.helpers.specs import SPEC, plan, spec_folder
from tests.helpers.trials import make_config
from tests.trainables.memory.test_prediction import GRID, SMOLLM2, long_rows, worst_error
from trainables.config.model import ModelConfig
from trainables.memory.measuring_process import MeasuringFailed, MeasuringProcess
from trainables.memory.predicted_model import PredictedModel
from trainables.memory.step import MemoryPrediction
from trainables.models import locate
from trainables.models.architecture import decoder_shape

GIB = 2**30
COUNT = decoder_shape.from_config(SMOLLM2).params
LLAMA_8B = {
    "model_type": "llama", "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
    "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256, "tie_word_embeddings": False,
}  # fmt: skip


def predicted(workers: int, sharding: str, method: str = "full", **leaves: Any) -> MemoryPrediction:
    config = make_config(
        Path("/m"), "rows.jsonl", {"kind": method}, batch_size=8, sharding=sharding, **leaves
    )
    return ConfigMemory(
        config, PredictedModel(decoder_shape.from_config(SMOLLM2)), 64, workers, "cuda"
    ).prediction


def test_workers_that_share_hold_a_part_of_weights_and_optimizer_state_each() -> None:
    two, four = predicted(2, "fsdp"), predicted(4, "fsdp")
    assert (two.weights, two.optimizer) == (4 * COUNT // 2, 8 * COUNT // 2)
    assert (four.weights, four.optimizer) == (4 * COUNT // 4, 8 * COUNT // 4)
    assert predicted(1, "fsdp") == predicted(1, "none")


def test_what_is_whole_at_a_time_is_the_same_however_many_share() -> None:
    numbers = decoder_shape.from_config(SMOLLM2)
    outside = COUNT - numbers.layers * numbers.layer_params
    for workers in (2, 4, 8):
        found = predicted(workers, "fsdp")
        assert found.gathered >= 4 * outside
        assert found.gathered == predicted(2, "fsdp").gathered


def test_workers_that_share_only_rows_hold_every_gradient_from_the_start() -> None:
    found = predicted(2, "none")
    assert (found.weights, found.optimizer) == (4 * COUNT, 8 * COUNT)
    # The head's gradient is computed before it is copied to its bucket.
    assert found.gradients == 4 * (COUNT + SMOLLM2["vocab_size"] * SMOLLM2["hidden_size"])
    assert predicted(2, "none", "lora").gathered == 0


@pytest.mark.parametrize("method", ["full", "freeze", "lora"])
def test_more_workers_take_less_each_and_least_where_they_share_weights(method: str) -> None:
    totals = [predicted(workers, "fsdp", method).total for workers in (1, 2, 4, 8)]
    assert totals == sorted(totals, reverse=True)
    assert predicted(4, "fsdp", method).total < predicted(4, "none", method).total


# Against measured peaks


SMOLLM2_CELLS = [
    ("full", "none", False), ("full", "fsdp", False), ("full", "fsdp", True), ("freeze", "fsdp", False),
    ("lora", "none", False), ("lora", "fsdp", False),
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_what_each_of_two_workers_takes_is_predicted_within_ten_percent(tmp_path: Path) -> None:
    long = long_rows(tmp_path / "long.jsonl")
    model = locate.model_folder(ModelConfig(name="smollm2-135m"), fetch=True)
    cells = {
        f"{name:7} {sharding} {checkpointing!s:5}": make_config(
            model, long, GRID[name], cutoff=128, eval_rows=2, batch_size=4, sharding=sharding,
            gradient_checkpointing=checkpointing, stage={"eval_batch": 1},
        )
        for name, sharding, checkpointing in SMOLLM2_CELLS
    }  # fmt: skip
    assert worst_error(cells, workers=2) < 0.1


@pytest.mark.slow
@pytest.mark.parametrize("gone", [0, 1])
def test_measuring_processes_do_not_wait_for_one_that_is_gone_and_are_started_again(
    tiny_model: Path, tmp_path: Path, gone: int
) -> None:
    config = make_config(tiny_model, "commands", "full", sharding="fsdp", batch_size=4)
    with closing(MeasuringProcess(2)) as group, closing(MeasuringProcess()) as alone:
        killed = group.start()[gone]
        killed.kill()
        killed.wait()
        with pytest.raises(MeasuringFailed, match="ended with code -9") as caught:
            group.measure(config)
        assert caught.value.out_of_memory
        found, whole = group.measure(config), alone.measure(config)
    assert (found["rows"], whole["rows"]) == (2, 4)
    assert found["weight_bytes"] == pytest.approx(whole["weight_bytes"] / 2, rel=0.01)


# How many it takes


@pytest.fixture
def workdir(tmp_path: Path) -> Path:
    return spec_folder(tmp_path)


def large(workdir: Path, *sets: str) -> Cell:
    """A cell of full fine-tuning, as if its model had 8B parameters and its rows 512 tokens."""
    sets = ("resources.workers=auto", "resources.gpus=1", "train.batch_size=8", *sets)
    planned = plan(workdir, SPEC, sets)
    assert not planned.errors
    cell = planned.cells[0]
    case = ConfigMemory(cell.first(), PredictedModel(decoder_shape.from_config(LLAMA_8B)), 512, 1, "cuda")
    return replace(cell, predicted=CellMemory(case, case, 512))


def of_gib(gib: float) -> Sizes:
    return Sizes((Machine("a", 64, 8, gpu_bytes=int(gib * GIB)),))


@pytest.mark.parametrize(("gib", "workers"), [(192, 1), (96, 2), (60, 4), (45, 8)])
def test_as_many_workers_share_the_weights_as_make_it_fit(workdir: Path, gib: float, workers: int) -> None:
    cell = large(workdir, "train.sharding=fsdp")
    assert of_gib(gib).for_trial(cell, cell.first()) == Size(workers, 1, 1)
    assert of_gib(gib).excess(cell, cell.first()) is None


def test_weights_that_are_not_shared_do_not_fit_with_any_number_of_workers(workdir: Path) -> None:
    apart, shared = large(workdir), large(workdir, "train.sharding=fsdp")
    assert of_gib(96).excess(apart, apart.first()) is not None
    assert of_gib(96).excess(shared, shared.first()) is None


def test_rows_are_shared_by_numbers_of_workers_that_leave_each_enough(workdir: Path) -> None:
    cell = large(workdir, "train.batch_size=12")
    assert cell.predicted is not None
    assert [case.workers for case in cell.predicted.largest.worker_options()] == [1, 2, 3, 4, 6, 12]
    stage = {"kind": "kto"}
    pairs = make_config(Path("/m"), "rows.jsonl", {"kind": "full"}, batch_size=12, stage=stage)
    case = ConfigMemory(pairs, PredictedModel(decoder_shape.from_config(SMOLLM2)), 64, 1, "cpu")
    assert [each.workers for each in case.worker_options()] == [1, 2, 3, 4, 6]
