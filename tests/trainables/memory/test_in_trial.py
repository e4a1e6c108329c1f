"""Memory that is read while a trial trains, as on a GPU: by phase, once a shape, and without a trace in the trial.

The allocator is a stand-in, as there is no GPU here.
"""

from __future__ import annotations

import json
import weakref
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from bitsandbytes.optim import GlobalOptimManager
from safetensors.torch import load_file

from tests.helpers.allocators import Allocator
from tests.helpers.trials import LETTER, ScriptedControl, make_config, run, write_rows
from tests.helpers.worker_groups import STAGE_SETTINGS
from trainables.memory.gauges import Meter
from trainables.memory.gpu_share import CONTEXT_BYTES, allocator_limit, limit_allocator
from trainables.memory.in_trial import InTrial, TrialMeter
from trainables.results import Record
from trainables.runner import lifecycle, training_phase
from trainables.runner.run import TrialContext, run_trial
from trainables.stages.rewards.rules import RULES
from trainables.system import machine
from trainables.system.byte_sizes import GIB
from trainables.training.stage_trainer import StageTrainer
from trainables.training.trainer_setup import clean_process
from trainables.trial import loading as trial_loading
from trainables.trial.config import TrialConfig

DROPPING = {"kind": "lora", "rank": 4, "dropout": 0.3}
WEIGHTS, SCORING = 1_000_000, 50_000  # bytes that the stand-in allocates
FP32: dict[str, Any] = {"dtype": "float32", "precision": "fp32"}


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rows(tmp_path_factory.mktemp("data") / "rows.jsonl")


@pytest.fixture(scope="module")
def measured(tiny_model: Path, rows: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Record]:
    """The folder of a run and the record of its first trial."""
    folder = tmp_path_factory.mktemp("run")
    return folder, run(make_config(tiny_model, rows, DROPPING), folder, memory_gauge=InTrial(Allocator))


# The trial is as if nothing had been read


def left_by(config: TrialConfig, folder: Path, record: Record) -> dict[str, Any]:
    """All that a trial leaves, without times and memory."""
    fields = (
        "status",
        "objective",
        "quality",
        "metrics",
        "tokens",
        "steps",
        "trainable_params",
        "padding_share",
    )
    trial = folder / "trials" / config.trial_id()
    weights = {
        (path.name, name): (tensor.dtype, tensor.flatten().view(torch.uint8).tolist())
        for path in sorted((trial / "model").glob("*.safetensors"))
        for name, tensor in load_file(path).items()
    }
    kept = ("reference_bytes", "cached_generation", "padded_generation", "weight_shares", "quantized_layers")
    return {name: getattr(record, name) for name in (*fields, *kept)} | {
        "curve": (trial / "curve.jsonl").read_text(),
        "weights": weights,
        "files": sorted(str(path.relative_to(trial)) for path in trial.rglob("*")),
    }


CASES: dict[str, tuple[Any, str, dict[str, Any]]] = {
    "full in fp32": ("full", "sft", FP32),
    "lora with dropout, accumulated, checkpointed": (
        DROPPING,
        "sft",
        {"gradient_accumulation": 2, "gradient_checkpointing": True, "eval_steps": 1},
    ),
    "4 bits, 8-bit optimizer": ("qlora-4bit", "sft", {"optimizer": "adamw_8bit"}),
    "dpo, whose reference is an adapter": (DROPPING, "dpo", {}),
    "dpo, whose reference is computed before": ("full", "dpo", {}),
    "kto": ("freeze", "kto", {}),
    "ppo, whose reference is a copy, accumulated": ("full", "ppo", {"gradient_accumulation": 2}),
    "grpo, with a reference and several updates a step": ("full", "grpo", {}),
}
MORE: dict[str, tuple[Any, str, dict[str, Any]]] = {
    "lora+ packed": ({**DROPPING, "loraplus_ratio": 16}, "sft", {"packing": True}),
    "8 bits": ("qlora-8bit", "sft", {}),
    "a reward model": (DROPPING, "reward", {}),
    "orpo": (DROPPING, "orpo", {"scheduler": "cosine"}),
    "ppo": ("lora", "ppo", {}),
    "a classifier": (DROPPING, "classification", {}),
    "grpo, accumulated": (DROPPING, "grpo", {"gradient_accumulation": 2}),
    "importances of ranks": ({"kind": "peft", "type": "adalora"}, "sft", {}),
    "virtual tokens": ({"kind": "peft", "type": "prompt_tuning", "num_virtual_tokens": 4}, "sft", {}),
    "layers by turns": ({"kind": "lisa", "layers": 1, "every": 1}, "sft", {}),
    "averaged weights": ("full", "sft", {"optimizer": "schedule_free", "eval_steps": 1}),
    "projected gradients": ("full", "sft", {"optimizer": "galore"}),
}


@pytest.mark.parametrize("case", [*CASES, *(pytest.param(case, marks=pytest.mark.slow) for case in MORE)])
def test_a_trial_whose_memory_is_read_leaves_bit_for_bit_what_it_would_have(
    tiny_model: Path, rows: Path, tmp_path: Path, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(RULES, "letter", LETTER)
    method, kind, leaves = (CASES | MORE)[case]
    own = STAGE_SETTINGS.get(kind, {})
    data: Any = rows if kind == "sft" else "commands"
    small = {} if kind == "sft" else {"eval_rows": 4, "eval_fraction": 0.95, "cutoff": 80}
    config = make_config(tiny_model, data, method, stage={"kind": kind, **own}, **small, **leaves)
    steps = counted_steps(monkeypatch)
    plain = run(config, tmp_path / "plain")
    taken = len(steps)
    record = run(config, tmp_path / "read", memory_gauge=InTrial(Allocator))
    assert len(steps) - taken == 2 * taken  # the steps on the longest rows, too
    assert left_by(config, tmp_path / "read", record) == left_by(config, tmp_path / "plain", plain)
    assert record.gradient_bytes is not None
    assert record.optimizer_bytes is not None


def counted_steps(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of each batch that a trainer computes from now on."""
    found: list[int] = []
    training_step = StageTrainer.training_step

    def counting(self: Any, *args: Any, **options: Any) -> Any:
        found.append(len(found))
        return training_step(self, *args, **options)

    monkeypatch.setattr(StageTrainer, "training_step", counting)
    return found


def test_what_a_trial_resumes_from_is_left_alone(tiny_model: Path, rows: Path, tmp_path: Path) -> None:
    """A trial that was interrupted before its shape was known trains on the longest rows again."""
    config = make_config(tiny_model, rows, DROPPING, steps=3)
    plain = run(config, tmp_path / "plain")
    reading: dict[str, Any] = {"memory_gauge": InTrial(Allocator)}
    run(config, tmp_path / "read", control=ScriptedControl(interrupt_at=1), **reading)
    assert not (tmp_path / "read" / "memory").exists()
    record = run(config, tmp_path / "read", **reading)
    assert left_by(config, tmp_path / "read", record) == left_by(config, tmp_path / "plain", plain)
    assert (tmp_path / "read" / "memory" / f"{record.memory_shape}.json").exists()


def test_layers_that_train_in_a_later_period_keep_their_dtype_and_values(
    tiny_model: Path, rows: Path, tmp_path: Path
) -> None:
    """On the longest rows the layers of period 0 train, whatever period the trial resumes in."""
    method = {"kind": "badam", "every": 2, "order": "ascending"}
    config = make_config(tiny_model, rows, method, steps=5, learning_rate=1e-2)
    plain = run(config, tmp_path / "plain")
    control = ScriptedControl(interrupt_at=3)
    assert run(config, tmp_path / "read", control=control).status == "interrupted"
    record = run(config, tmp_path / "read", memory_gauge=InTrial(Allocator))
    assert left_by(config, tmp_path / "read", record) == left_by(config, tmp_path / "plain", plain)


def test_only_the_first_trial_of_a_shape_trains_on_the_longest_rows(
    tiny_model: Path, rows: Path, measured: tuple[Path, Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, first = measured
    steps = counted_steps(monkeypatch)
    second = run(make_config(tiny_model, rows, DROPPING, seed=5), folder, memory_gauge=InTrial(Allocator))
    assert len(steps) == 2
    assert (first.memory_source, second.memory_source) == ("cuda", "cuda")
    assert first.memory_trial == second.memory_trial == first.trial_id
    assert first.weight_bytes == second.weight_bytes is not None


def test_what_another_node_has_read_is_used(
    tiny_model: Path, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures = {"memory_trial": "of-another", "memory_source": "cuda", "peak_train_bytes": 7}
    asked: list[str] = []
    steps = counted_steps(monkeypatch)
    gauge = InTrial(Allocator, stored=lambda shape: asked.append(shape) or figures)
    record = run(make_config(tiny_model, rows), tmp_path, memory_gauge=gauge)
    assert (len(steps), record.memory_trial, record.peak_train_bytes) == (2, "of-another", 7)
    assert asked == [record.memory_shape]


# Peaks by phase


class Driven:
    """Has a trial's phases allocate known amounts, as a GPU's allocator would see them.

    These are the base, as long as something refers to it; each batch while it is computed, a byte a token; and what
    scoring takes.
    """

    def __init__(
        self,
        allocator: Allocator,
        patch: pytest.MonkeyPatch,
        loading: int = 2 * WEIGHTS,
        scoring: int = SCORING,
    ) -> None:
        self.batches: list[tuple[int, ...]] = []
        self.held: list[weakref.ref[Any]] = []  # models and their embeddings
        load, step = trial_loading.load_base, StageTrainer.training_step

        def loaded(*args: Any) -> Any:
            allocator.allocate(loading)  # such as the weights before they are quantized
            allocator.free(loading - WEIGHTS)
            model = load(*args)
            weakref.finalize(model, allocator.free, WEIGHTS)
            self.held += [weakref.ref(model), weakref.ref(model.get_input_embeddings())]
            return model

        def trained(trainer: Any, model: Any, inputs: Any, *args: Any) -> Any:
            self.batches.append(tuple(inputs["input_ids"].shape))
            size = inputs["input_ids"].numel()
            allocator.allocate(size)
            result = step(trainer, model, inputs, *args)
            allocator.free(size)
            return result

        def scored(what: Any, size: int) -> Any:
            def scoring(trial: Any, *args: Any) -> Any:
                with trial.evaluating():
                    allocator.allocate(size)
                    allocator.free(size)
                return what(trial, *args)

            return scoring

        patch.setattr(trial_loading, "load_base", loaded)
        patch.setattr(StageTrainer, "training_step", trained)
        patch.setattr(training_phase, "objective", scored(training_phase.objective, scoring))
        patch.setattr(lifecycle, "score_trial", scored(lifecycle.score_trial, 2 * scoring))


def test_peaks_are_those_of_the_phases_and_of_the_longest_batch(
    tiny_model: Path, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    allocator = Allocator()
    allocator.allocate(500)  # before the trial: its baseline
    driven = Driven(allocator, monkeypatch)
    config = make_config(tiny_model, rows, DROPPING, batch_size=2, eval_steps=1)
    record = run(config, tmp_path, memory_gauge=InTrial(lambda: allocator))
    sizes = [rows * tokens for rows, tokens in driven.batches]
    assert sizes[0] == sizes[1] > max(sizes[2:])  # the trial's own steps didn't draw the longest row twice
    assert record.baseline_bytes == 500
    assert record.peak_load_bytes == 2 * WEIGHTS
    assert record.peak_train_bytes == WEIGHTS + sizes[0]
    assert record.peak_eval_bytes == WEIGHTS + 2 * SCORING
    assert record.reserved_bytes == 2 * WEIGHTS
    assert record.memory_source == "cuda"
    assert record.predicted_peak_bytes is not None


def test_without_room_for_a_copy_of_the_trained_weights_the_trials_own_batches_are_read(
    tiny_model: Path, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    allocator = Allocator()
    driven = Driven(allocator, monkeypatch)
    monkeypatch.setattr(machine, "available_memory_bytes", lambda: GIB)
    config = make_config(tiny_model, rows, {"kind": "full"}, steps=1)
    record = run(config, tmp_path, memory_gauge=InTrial(lambda: allocator))
    ((batch, tokens),) = driven.batches
    assert record.peak_train_bytes == WEIGHTS + batch * tokens
    assert (record.gradient_bytes, record.optimizer_bytes) == (None, None)
    # These need no copy.
    monkeypatch.undo()
    with_room = run(config, tmp_path / "with room", memory_gauge=InTrial(Allocator))
    assert record.predicted_peak_bytes == with_room.predicted_peak_bytes is not None
    counted = [
        json.loads((folder / "memory" / f"{record.memory_shape}.json").read_text())["row_tokens"]
        for folder in (tmp_path, tmp_path / "with room")
    ]
    assert counted[0] == counted[1] > 0


def test_a_base_that_stays_belongs_to_the_trials_that_use_it_and_not_to_the_baseline(
    tiny_model: Path, rows: Path, tmp_path: Path
) -> None:
    allocator = Allocator()
    allocator.allocate(300)
    allocator.allocate(WEIGHTS)  # the base of an earlier trial, whose load took twice that
    meter = TrialMeter(make_config(tiny_model, rows), InTrial(lambda: allocator))
    meter.start(tmp_path, resident_bytes=WEIGHTS)
    with meter.phase("load"):
        allocator.allocate(10)  # an adapter
    assert meter.load_peak == WEIGHTS + 10
    meter.base_was_loaded(2 * WEIGHTS)
    figures = meter.measure(make_config(tiny_model, rows))
    assert (figures["baseline_bytes"], figures["peak_load_bytes"]) == (300, 2 * WEIGHTS)


def test_a_base_that_makes_room_for_another_is_not_in_the_peak_of_loading_it(
    tiny_model: Path, rows: Path, tmp_path: Path
) -> None:
    allocator = Allocator()
    allocator.allocate(300)
    allocator.allocate(5 * WEIGHTS)
    meter = TrialMeter(make_config(tiny_model, rows), InTrial(lambda: allocator))
    meter.start(tmp_path, resident_bytes=5 * WEIGHTS)
    with meter.phase("load"):
        allocator.free(5 * WEIGHTS)
        allocator.empty()
        meter.restart_phase()
        allocator.allocate(WEIGHTS)
    figures = meter.measure(make_config(tiny_model, rows))
    assert (meter.load_peak, figures["reserved_bytes"]) == (WEIGHTS, WEIGHTS)


def test_a_phase_within_another_counts_for_itself_alone() -> None:
    allocator = Allocator()
    meter = Meter(allocator)
    with meter.phase("train"):
        allocator.allocate(100)
        allocator.free(90)
        with meter.phase("eval"):
            allocator.allocate(400)
            allocator.free(400)
        allocator.allocate(60)
    with meter.phase("eval"):
        pass
    assert meter.peaks == {"train": 100, "eval": 410}
    assert meter.reserved == 410


def test_a_base_model_that_is_only_scored_has_no_training_to_read(
    tiny_model: Path, rows: Path, tmp_path: Path
) -> None:
    record = run(make_config(tiny_model, rows, None), tmp_path, memory_gauge=InTrial(Allocator))
    assert (record.peak_train_bytes, record.gradient_bytes) == (None, None)
    assert record.weight_bytes is not None
    assert record.peak_eval_bytes == 0  # nothing is counted here


# Out of memory


def test_running_out_of_memory_on_the_longest_rows_is_a_finding_and_half_the_rows_are_tried(
    tiny_model: Path,
    rows: Path,
    tmp_path: Path,
    measured: tuple[Path, Record],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run_folder, first = measured
    figures = json.loads((run_folder / "memory" / f"{first.memory_shape}.json").read_text())
    longest = figures["row_tokens"]
    allocator = Allocator(limit=WEIGHTS + 3 * longest)
    driven = Driven(allocator, monkeypatch, loading=WEIGHTS, scoring=0)
    gauge = InTrial(lambda: allocator)
    config = make_config(tiny_model, rows, DROPPING, batch_size=4)
    record = run_trial(config, TrialContext(tmp_path / "once"), memory_gauge=gauge)
    assert (record.status, record.out_of_memory_in) == ("out_of_memory", "forward")
    assert driven.batches == [(4, longest)]
    retrying = make_config(tiny_model, rows, DROPPING, batch_size=4, retry_out_of_memory=True)
    driven.batches.clear()
    record = run_trial(retrying, TrialContext(tmp_path / "twice"), memory_gauge=gauge)
    assert (record.status, record.retried_batch_size) == ("done", 2)
    assert driven.batches[:5] == [(4, longest), *[(2, longest)] * 4]
    assert record.peak_train_bytes == WEIGHTS + 2 * longest
    # Nothing of the trials that failed or ended is in memory any more, so each of them began at nothing.
    clean_process()
    assert [part() for part in driven.held] == [None] * 6
    assert (record.baseline_bytes, allocator.allocated) == (0, 0)


def test_an_8_bit_optimizer_leaves_nothing_of_its_trial_in_memory(
    tiny_model: Path, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """bitsandbytes keeps embeddings for the whole process, and numbers of parameters that it would find again."""
    driven = Driven(Allocator(), monkeypatch)
    run(make_config(tiny_model, rows, "full", optimizer="adamw_8bit"), tmp_path)
    clean_process()
    assert [part() for part in driven.held] == [None] * 2
    assert not GlobalOptimManager.get_instance().index2config


@pytest.mark.parametrize(
    ("gpus", "expected"),
    [(0.5, 11.5 * GIB), (0.25, 5.5 * GIB), (1 / 3, 7.5 * GIB), (0.01, 0), (0, None), (1, None), (2, None)],
)
def test_a_worker_that_shares_a_gpu_may_allocate_its_share_without_the_context(
    gpus: float, expected: float | None
) -> None:
    assert allocator_limit(24 * GIB, gpus) == (None if expected is None else pytest.approx(expected, abs=1))


def test_several_workers_of_one_gpu_have_no_more_than_the_gpu_together() -> None:
    for shares in range(2, 9):
        limit = allocator_limit(80 * GIB, 1 / shares)
        assert limit is not None
        assert shares * (limit + CONTEXT_BYTES) <= 80 * GIB


class Cuda:
    """A stand-in for ``torch.cuda`` with one GPU of 24 GiB."""

    def __init__(self) -> None:
        self.fractions: list[tuple[float, int]] = []

    def current_device(self) -> int:
        return 1

    def get_device_properties(self, device: int) -> Any:
        return SimpleNamespace(total_memory=24 * GIB)

    def set_per_process_memory_fraction(self, fraction: float, device: int) -> None:
        self.fractions.append((fraction, device))


def test_the_allocator_is_limited_on_the_workers_own_gpu_where_it_is_shared(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cuda = Cuda()
    for name in ("current_device", "get_device_properties", "set_per_process_memory_fraction"):
        monkeypatch.setattr(torch.cuda, name, getattr(cuda, name))
    limit_allocator(1)
    assert cuda.fractions == []
    limit_allocator(0.5)
    assert cuda.fractions == [(pytest.approx(11.5 / 24), 1)]
