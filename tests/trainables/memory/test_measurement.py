"""Memory: the gauge against known allocations, tensors against counts by hand, the process that measures."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.helpers.allocators import Allocator
from tests.helpers.paths import ROOT
from tests.helpers.tiny_model import HIDDEN, LAYERS, VOCAB, make_model
from tests.helpers.trials import METHODS, make_config, make_policy, run, write_rows
from trainables.memory.figures import weight_bytes
from trainables.memory.gauges import Meter, ResidentSet
from trainables.memory.measurement import measure
from trainables.memory.measuring_process import MALLOC, MeasuringFailed, MeasuringProcess, environment
from trainables.runner.run import TrialContext, run_trial
from trainables.trial.config import TrialConfig

MIB = 2**20
PARAMETERS = 180_800  # of the tiny model, the tied head counted once
PEAKS = ("peak_load_bytes", "peak_train_bytes", "peak_eval_bytes")

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the peak resident set is Linux's")


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rows(tmp_path_factory.mktemp("data") / "rows.jsonl")


@pytest.fixture(scope="module")
def wide_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """13 M parameters: 26 MB in bfloat16, enough to tell methods apart."""
    return make_model(tmp_path_factory.mktemp("models") / "wide", hidden=512, layers=6)


@pytest.fixture(scope="module")
def measuring() -> Iterator[MeasuringProcess]:
    process = MeasuringProcess()
    yield process
    process.close()


# The gauge, in a process with the measuring process's malloc: here it would hand out pages that it kept


def _allocated(allocate: Callable[[int], Any]) -> dict[str, int]:
    meter = Meter()
    with meter.phase("work"):
        block = allocate(64 * MIB)
    assert len(block) == 64 * MIB
    return meter.peaks


def _given_back() -> tuple[int, int]:
    meter = Meter()
    with meter.phase("work"):
        torch.ones(64 * MIB, dtype=torch.uint8)
    now = ResidentSet().now()
    assert now is not None
    assert meter.baseline is not None
    return meter.peaks["work"], now - meter.baseline


def _one_after_another() -> dict[str, int]:
    meter = Meter()
    with meter.phase("large"):
        torch.ones(64 * MIB, dtype=torch.uint8)
    with meter.phase("small"):
        small = torch.ones(16 * MIB, dtype=torch.uint8)
    with meter.phase("none"):
        pass
    assert len(small) == 16 * MIB
    return meter.peaks


def test_what_an_allocator_holds_at_most_is_that_of_the_phase_that_holds_most() -> None:
    allocator = Allocator()
    allocator.allocate(10)
    meter = Meter(gauge=allocator)
    for phase, size in (("load", 50), ("train", 120), ("eval", 30)):
        with meter.phase(phase):
            allocator.allocate(size)
            allocator.free(size)
        allocator.empty()
    assert (meter.peaks, meter.reserved) == ({"load": 50, "train": 120, "eval": 30}, 120)
    assert Meter(gauge=None).reserved is None


def _failing() -> dict[str, int]:
    meter = Meter()
    with pytest.raises(RuntimeError), meter.phase("work"):
        torch.ones(256 * MIB, dtype=torch.uint8).view(3, 3)
    return meter.peaks


def _zeros(size: int) -> torch.Tensor:
    return torch.zeros(size, dtype=torch.uint8)


@pytest.fixture(scope="module")
def gauging() -> Iterator[ProcessPoolExecutor]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in MALLOC.items():
            patch.setenv(name, value)
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            pool.submit(_failing).result()  # the process starts, and torch's threads, in this environment
            yield pool


@pytest.mark.parametrize("allocate", [bytearray, _zeros])
def test_the_meter_sees_what_was_allocated(gauging: ProcessPoolExecutor, allocate: Any) -> None:
    peaks = gauging.submit(_allocated, allocate).result()
    assert peaks["work"] == pytest.approx(64 * MIB, rel=0.05)


def test_the_peak_is_kept_when_the_memory_is_given_back(gauging: ProcessPoolExecutor) -> None:
    peak, left = gauging.submit(_given_back).result()
    assert peak == pytest.approx(64 * MIB, rel=0.05)
    assert left < 5 * MIB


def test_a_phase_starts_from_what_is_there_and_not_from_the_last_peak(gauging: ProcessPoolExecutor) -> None:
    peaks = gauging.submit(_one_after_another).result()
    assert peaks["large"] == pytest.approx(64 * MIB, rel=0.05)
    assert peaks["small"] == pytest.approx(16 * MIB, rel=0.1)
    assert peaks["none"] == pytest.approx(16 * MIB, rel=0.1)  # still held, above the baseline


def test_the_peak_of_a_phase_that_fails_is_kept(gauging: ProcessPoolExecutor) -> None:
    assert gauging.submit(_failing).result()["work"] == pytest.approx(256 * MIB, rel=0.05)


def test_without_a_gauge_nothing_is_measured_and_nothing_fails() -> None:
    meter = Meter(gauge=None)
    with meter.phase("work"):
        pass
    assert meter.peaks == {}
    assert meter.baseline is None


@pytest.mark.slow
def test_where_clear_refs_is_read_only_peaks_are_null_and_tensors_are_counted(
    tiny_model: Path, rows: Path
) -> None:
    """As in a container with a read-only /proc, made here with a mount namespace."""
    mount = ["unshare", "-m", "sh", "-c", 'mount -o remount,bind,ro /proc && exec "$@"', "sh"]
    if shutil.which("unshare") is None or subprocess.run([*mount, "true"], capture_output=True).returncode:
        pytest.skip("a read-only /proc needs the right to mount")
    code = (
        "import sys; from trainables.system import quiet; quiet.silence()\n"
        "from trainables.trial.config import TrialConfig; from trainables.memory.measurement import measure\n"
        "print(measure(TrialConfig.model_validate_json(sys.argv[1])).model_dump_json())"
    )
    config = make_config(tiny_model, rows, "full").model_dump_json()
    command = [*mount, sys.executable, "-c", code, config]
    found = json.loads(subprocess.run(command, check=True, cwd=ROOT, capture_output=True, text=True).stdout)
    assert {found[name] for name in (*PEAKS, "baseline_bytes", "memory_source")} == {None}
    assert found["weight_bytes"] == pytest.approx(4 * PARAMETERS, abs=100)  # and the rotary frequencies


# Tensors, counted by hand


@pytest.mark.parametrize(
    ("kind", "precision", "expected"),
    [
        ("full", "fp32", 4 * PARAMETERS),
        ("full", "bf16", 4 * PARAMETERS),
        ("full", "pure_bf16", 2 * PARAMETERS),
        ("freeze", "bf16", 2 * PARAMETERS + 2 * 73984),  # two layers in 4 bytes
        ("lora", "bf16", 2 * PARAMETERS + 4 * 16384),
        ("lora", "pure_bf16", 2 * (PARAMETERS + 16384)),
    ],
)
def test_weights_are_counted_in_the_dtype_they_are_held_in(
    tiny_model: Path, rows: Path, kind: str, precision: str, expected: int
) -> None:
    model = make_policy(make_config(tiny_model, rows, kind, precision=precision)).model
    buffers = sum(b.numel() * b.element_size() for b in {b.data_ptr(): b for b in model.buffers()}.values())
    assert weight_bytes(model) - buffers == expected
    assert buffers < 100  # the rotary frequencies


LINEAR = LAYERS * (
    2 * HIDDEN * HIDDEN + 2 * HIDDEN * HIDDEN // 2 + 3 * HIDDEN * 2 * HIDDEN
)  # weights in linear layers
MATRICES = LAYERS * 7


def test_four_bit_weights_are_counted_packed_with_their_constants(tiny_model: Path, rows: Path) -> None:
    """Half a byte a weight; one fp32 scale for 64 weights, and the table of 16 fp32 values."""
    method = {"kind": "qlora", "rank": 4, "double_quant": False}
    model = make_policy(make_config(tiny_model, rows, method)).model
    buffers = sum(b.numel() * b.element_size() for b in {b.data_ptr(): b for b in model.buffers()}.values())
    packed = LINEAR // 2 + 4 * LINEAR // 64
    tables = {
        layer.quant_state.code.data_ptr() for layer in model.parameters() if hasattr(layer, "quant_state")
    }
    rest = 2 * (PARAMETERS - LINEAR) + 4 * 16384
    assert weight_bytes(model) - buffers == packed + 16 * 4 * len(tables) + rest


def test_double_quantization_saves_most_of_the_constants(wide_model: Path, rows: Path) -> None:
    """Scales in a byte each, for 64 weights, instead of four; and a scale in fp32 for 256 of those."""
    found = {}
    for double in (False, True):
        model = make_policy(make_config(wide_model, rows, {"kind": "qlora", "double_quant": double})).model
        found[double] = weight_bytes(model)
        linear = sum(p.quant_state.shape.numel() for p in model.parameters() if hasattr(p, "quant_state"))
    expected = 4 * linear / 64 - (linear / 64 + 4 * linear / 64 / 256)
    tables = 42 * 256 * 4  # and a table of 256 values for each of 42 matrices
    assert found[False] - found[True] == pytest.approx(expected - tables, abs=tables)


def test_eight_bit_weights_are_a_byte_each_and_a_scale_a_row(tiny_model: Path, rows: Path) -> None:
    model = make_policy(make_config(tiny_model, rows, "qlora-8bit")).model
    buffers = sum(b.numel() * b.element_size() for b in {b.data_ptr(): b for b in model.buffers()}.values())
    outputs = LAYERS * (HIDDEN + HIDDEN // 2 + HIDDEN // 2 + HIDDEN + 2 * HIDDEN + 2 * HIDDEN + HIDDEN)
    expected = LINEAR + 4 * outputs + 2 * (PARAMETERS - LINEAR) + 4 * 16384
    assert weight_bytes(model) - buffers == expected


@pytest.mark.parametrize(
    ("kind", "trainable", "tensors"),
    [
        ("full", PARAMETERS, 2 + 9 * LAYERS),
        ("freeze", 73984, 18),
        ("lora", 16384, 14 * LAYERS),
        ("qlora-4bit", 16384, 56),
    ],
)
def test_gradients_and_adams_state_are_counted(
    tiny_model: Path, rows: Path, kind: str, trainable: int, tensors: int
) -> None:
    """Gradients: 4 bytes a trainable weight. AdamW: two moments of 4 bytes, and a step count a tensor."""
    found = measure(make_config(tiny_model, rows, kind))
    assert found.gradient_bytes == 4 * trainable
    assert found.optimizer_bytes == 8 * trainable + 4 * tensors


def test_in_pure_bf16_gradients_and_moments_are_half_as_large(tiny_model: Path, rows: Path) -> None:
    found = measure(make_config(tiny_model, rows, "full", precision="pure_bf16"))
    assert found.gradient_bytes == 2 * PARAMETERS
    assert found.optimizer_bytes == 4 * PARAMETERS + 4 * (2 + 9 * LAYERS)
    assert VOCAB * HIDDEN < PARAMETERS


def test_the_measured_batch_is_of_the_longest_row(tiny_model: Path, rows: Path) -> None:
    from tests.helpers.trials import encoded
    from trainables.data import loading
    from trainables.trial.tokenizer import load_tokenizer

    config = make_config(tiny_model, rows, batch_size=3)
    found = measure(config)
    tokens = [
        len(row.input_ids) for row in encoded(make_policy(config), loading.load(config.data).train, 1024)
    ]
    assert (found.rows, found.row_tokens) == (3, max(tokens))
    assert load_tokenizer(tiny_model) is make_policy(config).tokenizer
    assert measure(make_config(tiny_model, rows, cutoff=16)).row_tokens == 16


def test_measuring_makes_no_folder_but_temporary_ones(
    tiny_model: Path, rows: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user who isn't root may not make others."""
    made, make = [], os.makedirs

    def watched(path: Any, *args: Any, **options: Any) -> None:
        made.append(Path(path))
        make(path, *args, **options)

    monkeypatch.setattr(os, "makedirs", watched)
    measure(make_config(tiny_model, rows, "full"))
    assert made
    assert all(path.is_relative_to(tempfile.gettempdir()) for path in made), made
    assert not any(path.exists() for path in made)


def test_the_base_model_has_no_training_to_measure(tiny_model: Path, rows: Path) -> None:
    found = measure(make_config(tiny_model, rows, None))
    assert (found.peak_train_bytes, found.gradient_bytes, found.optimizer_bytes) == (None, None, None)
    assert found.weight_bytes is not None
    assert found.peak_eval_bytes is not None


# The process that measures


def test_the_measuring_process_gives_freed_memory_back_and_stands_alone() -> None:
    found = environment()
    assert {name: found[name] for name in MALLOC} == MALLOC
    assert not {"RANK", "WORLD_SIZE", "MASTER_ADDR"} & set(found)


def peaks(found: dict[str, Any]) -> dict[str, int]:
    return {name: found[name] for name in PEAKS}


@pytest.mark.slow
def test_a_warm_process_measures_what_a_fresh_one_does(
    wide_model: Path, rows: Path, measuring: MeasuringProcess
) -> None:
    config = make_config(wide_model, rows, "lora", batch_size=8)
    measuring.measure(make_config(wide_model, rows, "full", batch_size=8))
    warm = measuring.measure(config)
    fresh = MeasuringProcess()
    try:
        cold = fresh.measure(config)
    finally:
        fresh.close()
    assert warm["memory_source"] == "rss"
    # A warm heap has some 2 MiB of small free blocks to give, which shows in peaks of tens of MiB alone.
    assert peaks(warm) == pytest.approx(peaks(cold), rel=0.02, abs=4 * MIB)
    assert warm["peak_train_bytes"] > 30 * MIB


def test_full_takes_more_than_lora_and_four_bits_take_less_than_sixteen(
    wide_model: Path, rows: Path, measuring: MeasuringProcess
) -> None:
    found = {
        kind: measuring.measure(make_config(wide_model, rows, kind, batch_size=2))
        for kind in ("full", "freeze", "lora", "qlora-4bit")
    }
    peak = {kind: memory["peak_train_bytes"] for kind, memory in found.items()}
    assert peak["full"] > peak["freeze"] > 0
    assert peak["full"] > peak["lora"] > peak["qlora-4bit"]
    # Full, at the least: weights, gradients and two moments, 4 bytes each.
    assert peak["full"] > 16 * (found["full"]["weight_bytes"] / 4)
    assert found["qlora-4bit"]["weight_bytes"] < found["lora"]["weight_bytes"] < found["full"]["weight_bytes"]


@pytest.mark.slow
def test_checkpointing_and_smaller_batches_take_less(
    wide_model: Path, rows: Path, measuring: MeasuringProcess
) -> None:
    def peak(**settings: Any) -> int:
        return measuring.measure(make_config(wide_model, rows, "lora", **settings))["peak_train_bytes"]

    whole = peak(batch_size=16)
    assert peak(batch_size=16, gradient_checkpointing=True) < whole
    assert peak(batch_size=4) < whole


def test_what_a_method_names_in_a_late_layer_can_be_measured(tiny_model: Path, rows: Path) -> None:
    """The rehearsal's model has one layer only."""
    method = {"kind": "freeze", "layers": 0, "modules": ["layers.3.mlp"]}
    assert measure(make_config(tiny_model, rows, method)).gradient_bytes == 4 * 3 * HIDDEN * 2 * HIDDEN


def test_a_model_that_lists_its_layers_can_be_measured(tiny_model: Path, rows: Path, tmp_path: Path) -> None:
    """Qwen 3 says of every layer what kind it is; one layer needs a list of one."""
    from transformers import AutoTokenizer, Qwen3Config, Qwen3ForCausalLM

    from trainables.memory.measurement import _one_layer_config

    config = Qwen3Config(
        vocab_size=VOCAB, hidden_size=64, intermediate_size=64, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=2, head_dim=16,
    )  # fmt: skip
    Qwen3ForCausalLM(config).save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(tiny_model).save_pretrained(tmp_path)
    short = _one_layer_config(config, {})
    assert (short.num_hidden_layers, short.layer_types) == (1, ["full_attention"])
    assert measure(make_config(tmp_path, rows, "lora")).weight_bytes is not None


def test_a_config_that_cannot_be_measured_says_why_and_the_next_is_measured(
    tiny_model: Path, rows: Path, measuring: MeasuringProcess
) -> None:
    with pytest.raises(MeasuringFailed, match="There is no model folder") as caught:
        measuring.measure(make_config(Path("/nowhere"), rows))
    assert not caught.value.out_of_memory
    assert measuring.measure(make_config(tiny_model, rows))["weight_bytes"] > 0


@pytest.mark.slow
def test_a_measuring_process_that_was_killed_ran_out_of_memory_and_is_started_again(
    tiny_model: Path, rows: Path
) -> None:
    process = MeasuringProcess()
    try:
        (started,) = process.start()
        started.kill()
        started.wait()
        with pytest.raises(MeasuringFailed, match="ended with code -9") as caught:
            process.measure(make_config(tiny_model, rows))
        assert caught.value.out_of_memory
        assert process.measure(make_config(tiny_model, rows))["weight_bytes"] > 0
    finally:
        process.close()


# Once per shape


@pytest.mark.parametrize(
    ("changed", "same"),
    [
        ({"learning_rate": 2e-3}, True),
        ({"seed": 7}, True),
        ({"steps": 9}, True),
        ({"scheduler": "cosine", "warmup_steps": 1, "weight_decay": 0.1, "max_grad_norm": None}, True),
        ({"logging_steps": 2, "eval_steps": 2, "save_steps": 2}, True),
        ({"batch_size": 2}, False),
        ({"gradient_accumulation": 2}, False),
        ({"precision": "fp32"}, False),
        ({"optimizer": "sgd"}, False),
        ({"gradient_checkpointing": True}, False),
        ({"cutoff": 64}, False),
        ({"dtype": "float32"}, False),
    ],
)
def test_the_shape_is_what_memory_depends_on(
    tiny_model: Path, rows: Path, changed: dict[str, Any], same: bool
) -> None:
    shapes = {make_config(tiny_model, rows, **leaves).memory_shape() for leaves in ({}, changed)}
    assert (len(shapes) == 1) == same


@pytest.mark.parametrize(
    ("changed", "same"),
    [({"alpha": 3}, True), ({"rank": 8}, False), ({"dora": True}, False), ({"targets": ["q_proj"]}, False)],
)
def test_the_shape_of_an_adapter_counts_and_its_scale_does_not(
    tiny_model: Path, rows: Path, changed: dict[str, Any], same: bool
) -> None:
    shapes = {
        make_config(tiny_model, rows, {"kind": "lora", "rank": 4, **leaves}).memory_shape()
        for leaves in ({}, changed)
    }
    assert (len(shapes) == 1) == same


class Counting:
    """Measures with a real process, and counts how often it was asked."""

    def __init__(self, process: MeasuringProcess) -> None:
        self.process, self.asked = process, 0

    def measure(self, config: TrialConfig) -> dict[str, Any]:
        self.asked += 1
        return self.process.measure(config)


def test_memory_is_measured_once_per_shape_and_the_record_names_the_trial(
    tiny_model: Path, rows: Path, tmp_path: Path, measuring: MeasuringProcess
) -> None:
    counting = Counting(measuring)
    first = make_config(tiny_model, rows, "lora")
    second = make_config(tiny_model, rows, {**METHODS["lora"], "alpha": 3}, learning_rate=5e-3, seed=2)
    third = make_config(tiny_model, rows, "lora", batch_size=2)
    records = [run(config, tmp_path, memory_gauge=counting) for config in (first, second, third)]
    assert counting.asked == 2
    assert [record.memory_trial for record in records] == [
        first.trial_id(),
        first.trial_id(),
        third.trial_id(),
    ]
    assert records[0].peak_train_bytes == records[1].peak_train_bytes is not None
    assert records[0].memory_shape == records[1].memory_shape != records[2].memory_shape
    assert all(record.memory_source == "rss" for record in records)


class Failing:
    """A measurement that fails."""

    def __init__(self, out_of_memory: bool) -> None:
        self.out_of_memory = out_of_memory

    def measure(self, config: TrialConfig) -> dict[str, Any]:
        raise MeasuringFailed("the measuring process ended with code -9", self.out_of_memory)


@pytest.mark.parametrize(("ran_out", "status"), [(True, "out_of_memory"), (False, "failed")])
def test_a_trial_that_cannot_be_measured_says_so(
    tiny_model: Path, rows: Path, tmp_path: Path, ran_out: bool, status: str
) -> None:
    record = run_trial(make_config(tiny_model, rows), TrialContext(tmp_path), memory_gauge=Failing(ran_out))
    assert record.status == status
    assert record.error == "measuring memory: the measuring process ended with code -9"
    assert record.quality is not None  # what was found out is kept


class Ended:
    """A measuring process that was ended with all others."""

    def measure(self, config: TrialConfig) -> dict[str, Any]:
        raise MeasuringFailed("the measuring process ended with code -15", terminated=True)


def test_a_trial_whose_measuring_was_ended_from_outside_is_gone_on_with(
    tiny_model: Path, rows: Path, tmp_path: Path, measuring: MeasuringProcess
) -> None:
    config = make_config(tiny_model, rows)
    assert run_trial(config, TrialContext(tmp_path), memory_gauge=Ended()).status == "interrupted"
    assert run_trial(config, TrialContext(tmp_path), memory_gauge=measuring).status == "done"


def test_a_measuring_process_says_when_it_was_terminated(tiny_model: Path, rows: Path) -> None:
    process = MeasuringProcess()
    try:
        (started,) = process.start()
        started.terminate()
        with pytest.raises(MeasuringFailed, match="ended with code -15") as caught:
            process.measure(make_config(tiny_model, rows))
        assert caught.value.terminated
        assert not caught.value.out_of_memory
    finally:
        process.close()
