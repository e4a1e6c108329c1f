"""Trials that several workers train together: the same training as one worker's."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from torch import Tensor, equal

from tests.helpers.tiny_encoders import make_encoder
from tests.helpers.trials import curve, make_config, run
from tests.helpers.worker_groups import (
    SMALL,
    job,
    start_unsupervised,
    train_together,
    training_rows,
    worker_config,
)
from trainables import results
from trainables.trial.config import TrialConfig

STAGES = ("pretrain", "sft", "classification", "reward", "ppo", "grpo", "dpo", "kto", "orpo", "simpo")
CELLS = [(stage, "full", "steps") for stage in STAGES if stage != "classification"]
CELLS += [("weighted", "full", "uneven")]  # a classifier, with weights for its labels
CELLS += [(stage, "lora", "accumulated") for stage in ("ppo", "dpo", "kto", "orpo")]
READ = [("sft", "full", "steps"), ("ppo", "lora", "accumulated"), ("dpo", "lora", "accumulated")]
LENGTHS = ("steps", "accumulated", "uneven")
EVERY = [(stage, method, length) for stage in STAGES for method in ("full", "lora") for length in LENGTHS]
EVERY += [("weighted", method, length) for method in ("full", "lora") for length in LENGTHS]
REST = [cell for cell in EVERY if cell not in CELLS]


@pytest.fixture(scope="module")
def shared(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with a trial that fails and, after it, every stage's, trained by two workers."""
    folder = tmp_path_factory.mktemp("two")
    jobs = [job(hopeless(tiny_model), folder, ends="failed")]
    jobs += [job(worker_config(tiny_model, *cell), folder, reads_memory=cell in READ) for cell in CELLS]
    train_together(folder, jobs)
    return folder


def hopeless(model: Path) -> TrialConfig:
    return worker_config(model, "sft", "full", learning_rate=1e30, max_grad_norm=None)


def trains_as_one_does(config: TrialConfig, shared: Path, alone: Path) -> None:
    one, found = run(config, alone), results.read_record(shared / "trials" / config.trial_id())
    assert found is not None
    assert (found.status, found.steps, found.tokens) == ("done", 2, one.tokens)
    for name in ("train_loss", "grad_norm"):
        expected = [value for _, value in curve(config, alone, name)]
        assert [value for _, value in curve(config, shared, name)] == pytest.approx(expected, rel=1e-4)
    assert found.objective == pytest.approx(one.objective, rel=1e-4)
    expected, saved = (saved_weights(run, config) for run in (alone, shared))
    assert saved.keys() == expected.keys()
    for name, weights in expected.items():
        # Compared as a whole: an adapter is nothing but change, and Adam amplifies rounding of single weights.
        assert (saved[name] - weights).norm() <= 5e-3 * weights.norm(), name


def saved_weights(run: Path, config: TrialConfig) -> dict[str, Tensor]:
    files = sorted((run / "trials" / config.trial_id() / "model").glob("*.safetensors"))
    return {name: weights for file in files for name, weights in load_file(file).items()}


@pytest.mark.parametrize(("stage", "method", "length"), CELLS)
def test_two_workers_train_as_one_does(
    shared: Path, tiny_model: Path, tmp_path: Path, stage: str, method: str, length: str
) -> None:
    trains_as_one_does(worker_config(tiny_model, stage, method, length), shared, tmp_path)


@pytest.mark.parametrize(("stage", "method", "length"), READ)
def test_memory_that_is_read_in_a_trial_is_that_of_the_worker_with_most(
    shared: Path, tiny_model: Path, stage: str, method: str, length: str
) -> None:
    """The test above shows that these trials are no others for it."""
    record = results.read_record(
        shared / "trials" / worker_config(tiny_model, stage, method, length).trial_id()
    )
    assert record is not None
    assert (record.memory_source, record.peak_train_bytes) == ("cuda", 200)
    assert record.peak_eval_bytes == 200
    assert record.optimizer_bytes is not None


@pytest.mark.slow
def test_a_base_that_two_workers_keep_gives_what_one_that_was_loaded_for_the_trial_does(
    tiny_model: Path, tmp_path: Path
) -> None:
    qlora = {"kind": "qlora", "rank": 4}
    methods = {
        1: {"kind": "lora", "rank": 4},
        2: {"kind": "lora", "rank": 2},
        3: qlora,
        4: qlora | {"rank": 2},
    }
    configs = [worker_config(tiny_model, "sft", each, seed=seed) for seed, each in methods.items()]
    kept, alone = tmp_path / "kept", tmp_path / "alone"
    jobs = [
        job(config, kept, base_origin=origin)
        for config, origin in zip(configs, ("loaded", "kept", "loaded", "kept"), strict=True)
    ]
    train_together(tmp_path, [*jobs, *(job(config, alone) for config in configs)])
    for config in configs:
        assert computed(kept, config) == computed(alone, config)
        one, other = (saved_weights(run, config) for run in (kept, alone))
        assert one.keys() == other.keys()
        assert all(equal(weights, other[name]) for name, weights in one.items())


def computed(run: Path, config: TrialConfig) -> dict[str, Any]:
    record = results.read_record(run / "trials" / config.trial_id())
    assert record is not None
    names = ("train_loss", "grad_norm", "objective")
    kept = ("objective", "quality", "metrics", "tokens", "trainable_params")
    return {name: curve(config, run, name) for name in names} | {n: getattr(record, n) for n in kept}


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_two_workers_train_as_one_does_with_any_number_of_batches(tiny_model: Path, tmp_path: Path) -> None:
    configs = [worker_config(tiny_model, *cell) for cell in REST]
    train_together(tmp_path, [job(config, tmp_path / "two") for config in configs])
    for config in configs:
        trains_as_one_does(config, tmp_path / "two", tmp_path / "one")


@pytest.mark.slow
def test_two_workers_train_masked_tokens_as_one_does(tmp_path: Path) -> None:
    """With ModernBERT, which has no dropout: the workers' batches have unequal numbers of masked tokens."""
    model = make_encoder(tmp_path / "model", "modernbert")
    configs = [worker_config(model, "mlm", "full", length, cutoff=64) for length in LENGTHS]
    train_together(tmp_path, [job(config, tmp_path / "two") for config in configs])
    for config in configs:
        trains_as_one_does(config, tmp_path / "two", tmp_path / "one")


@pytest.mark.slow
def test_two_workers_train_an_encoders_classifier_as_one_does(tmp_path: Path) -> None:
    """With ModernBERT, whose classifier has no dropout either."""
    model = make_encoder(tmp_path / "model", "modernbert")
    configs = [
        worker_config(model, "weighted", method, length, cutoff=64, sharding=sharding)
        for method in ("full", "lora")
        for length in LENGTHS
        for sharding in ("none", "fsdp")
    ]
    train_together(tmp_path, [job(config, tmp_path / "two") for config in configs])
    for config in configs:
        trains_as_one_does(config, tmp_path / "two", tmp_path / "one")


@pytest.mark.slow
def test_an_interrupted_classifier_of_two_workers_learns_what_it_would_have(
    tiny_model: Path, tmp_path: Path
) -> None:
    encoder = make_encoder(tmp_path / "model", "bert")
    configs = [
        worker_config(model, "weighted", "full", cutoff=64, steps=4, sharding=sharding)
        for model in (tiny_model, encoder)
        for sharding in ("none", "fsdp")
    ]
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    jobs = [
        each
        for config in configs
        for each in (
            job(config, whole),
            job(config, resumed, interrupt_at=2, ends="interrupted"),
            job(config, resumed),
        )
    ]
    train_together(tmp_path, jobs)
    for config in configs:
        assert computed(resumed, config) == computed(whole, config)


@pytest.mark.slow
def test_a_last_batch_that_cannot_be_divided_evenly_gets_more_rows(tiny_model: Path, tmp_path: Path) -> None:
    """7 rows, 4 at a time: one worker trains on 7, two on 8."""
    rows = training_rows(worker_config(tiny_model, "sft", "lora"))
    config = make_config(tiny_model, "commands", "lora", epochs=7.01 / rows, **SMALL)
    assert (config.train.rows_seen(2, rows), config.train.rows_seen(2, rows, workers=2)) == (7, 8)
    train_together(tmp_path, [job(config, tmp_path)])
    assert results.read_record(tmp_path / "trials" / config.trial_id()).steps == 2


# Failures


def run_unsupervised(folder: Path, config: TrialConfig, **events: Any) -> tuple[list[int], float, list[str]]:
    """The exit codes of two unsupervised workers, the seconds until both ended, and their stderr."""
    started = time.monotonic()
    workers = start_unsupervised(folder, [job(config, folder, **events)])
    try:
        errors = [worker.communicate(timeout=300)[1] for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
    return [worker.returncode for worker in workers], time.monotonic() - started, errors


@pytest.mark.slow
@pytest.mark.parametrize("sharding", ["none", "fsdp"])
@pytest.mark.parametrize("dies", [0, 1])
def test_a_killed_worker_ends_the_others_but_not_the_trial(
    tiny_model: Path, tmp_path: Path, sharding: str, dies: int
) -> None:
    config = worker_config(tiny_model, "sft", "full", steps=200, sharding=sharding)
    codes, seconds, errors = run_unsupervised(tmp_path, config, dies=dies)
    assert codes[dies] == -9
    assert codes[1 - dies] == 1
    assert "WorkerGroupBroken" in errors[1 - dies]
    assert seconds < 120
    # No record: the next group resumes the trial.
    assert results.read_record(tmp_path / "trials" / config.trial_id()) is None


@pytest.mark.slow
@pytest.mark.parametrize("fails", [0, 1])
def test_a_worker_that_runs_out_of_memory_alone_says_so_and_ends_the_others(
    tiny_model: Path, tmp_path: Path, fails: int
) -> None:
    config = worker_config(tiny_model, "sft", "full", steps=200)
    codes, seconds, errors = run_unsupervised(tmp_path, config, fails=fails)
    assert codes == [1, 1]
    assert seconds < 120
    assert '"status":"out_of_memory","error":"MemoryError: none left"' in errors[fails]


def test_a_failure_on_all_workers_is_a_record_and_they_continue(shared: Path, tiny_model: Path) -> None:
    record = results.read_record(shared / "trials" / hopeless(tiny_model).trial_id())
    assert record is not None
    assert "NotFinite" in str(record.error)
