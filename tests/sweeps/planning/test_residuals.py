"""Measured peaks correct the next predictions of similar cells."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sweeps.planning.cell import Cell
from sweeps.planning.memory import calibration, residuals
from sweeps.planning.memory.calibration import store_residuals
from sweeps.planning.memory.residuals import Correction, cache_file
from sweeps.planning.plan import Plan, make
from sweeps.planning.plan_json import plan_json
from sweeps.spec.spec import read
from tests.helpers.sweeps import SPEC, write_spec
from tests.helpers.tiny_model import make_model
from trainables.results import Record


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARETUNE_HOME", str(tmp_path / "home"))


def planned(folder: Path, model: Path, text: str = SPEC) -> Plan:
    made = make(read(str(write_spec(folder, model, text))))
    assert not made.errors
    return made


def measured(cell: Cell, factor: float, **train: Any) -> Record:
    """The record of a trial that took ``factor`` times its predicted peak."""
    config = cell.first()
    config = config.model_copy(update={"train": config.train.model_copy(update=train)})
    assert cell.predicted is not None
    predicted = cell.predicted.for_config(config).prediction.total
    return Record(
        **config.identity(),
        status="done",
        device="cpu",
        memory_shape=config.memory_shape(),
        predicted_peak_bytes=predicted,
        peak_train_bytes=round(factor * predicted),
    )


def corrected(plan: Plan, cell: str) -> Correction:
    predicted = plan.cell(cell).predicted
    assert predicted is not None
    return predicted.largest.correction


def test_a_measured_cell_is_predicted_as_it_was_measured(tmp_path: Path, tiny_model: Path) -> None:
    before = planned(tmp_path / "spec", tiny_model)
    record = measured(before.cell("sft-full"), 1.1)
    store_residuals(before.cells, [record])
    after = planned(tmp_path / "spec", tiny_model)
    predicted = after.cell("sft-full").predicted
    assert predicted is not None
    assert predicted.largest.peak_bytes == pytest.approx(record.peak_train_bytes, rel=1e-6)
    assert predicted.largest.prediction == before.cell("sft-full").predicted.largest.prediction  # type: ignore[union-attr]
    assert corrected(after, "sft-lora") == Correction()  # another method has other errors


@pytest.mark.parametrize(("optimizer", "count"), [("adamw_8bit", 1), ("paged_adamw_8bit", 0)])
def test_a_peak_on_a_gpu_that_lacks_the_state_of_a_paged_optimizer_corrects_nothing(
    tmp_path: Path, tiny_model: Path, optimizer: str, count: int
) -> None:
    text = SPEC.replace("train: {", f"train: {{optimizer: {optimizer}, ")
    plan = planned(tmp_path / "spec", tiny_model, text)
    record = measured(plan.cell("sft-full"), 0.6)
    store_residuals(plan.cells, [record.model_copy(update={"device": "cuda"})])
    assert len(residuals.stored_residuals()) == count


@pytest.mark.parametrize(("gradient_bytes", "count"), [(1000, 1), (None, 0)])
def test_a_peak_of_a_trials_own_batches_corrects_nothing(
    tmp_path: Path, tiny_model: Path, gradient_bytes: int | None, count: int
) -> None:
    plan = planned(tmp_path / "spec", tiny_model)
    read = {"device": "cuda", "memory_source": "cuda", "gradient_bytes": gradient_bytes}
    store_residuals(plan.cells, [measured(plan.cell("sft-full"), 0.6).model_copy(update=read)])
    assert len(residuals.stored_residuals()) == count


def test_the_plan_notes_the_correction_and_its_reason(tmp_path: Path, tiny_model: Path) -> None:
    before = planned(tmp_path / "spec", tiny_model)
    store_residuals(before.cells, [measured(before.cell("sft-full"), 1.1)])
    after = planned(tmp_path / "spec", tiny_model)
    message = "predicted peaks are corrected by earlier measurements: sft-full +10.0% (1 measurement)"
    assert message in after.notes
    reported = plan_json(after)["cells"][0]["predicted"]
    assert reported["correction"] == {"factor": pytest.approx(1.1, rel=1e-6), "count": 1, "same_model": True}
    assert reported["peak_bytes"] > sum(reported[name] for name in ("weights_bytes", "gradients_bytes"))
    assert not any("corrected" in note for note in before.notes)


def test_several_measurements_count_by_their_median(tmp_path: Path, tiny_model: Path) -> None:
    plan = planned(tmp_path / "spec", tiny_model)
    full = plan.cell("sft-full")
    for size, factor in ((2, 1.0), (4, 1.02), (8, 1.5)):
        store_residuals(plan.cells, [measured(full, factor, batch_size=size)])
    found = corrected(planned(tmp_path / "spec", tiny_model), "sft-full")
    assert (found.count, found.factor) == (3, pytest.approx(1.02, rel=1e-4))


def test_a_new_measurement_of_a_shape_replaces_the_previous_one(tmp_path: Path, tiny_model: Path) -> None:
    plan = planned(tmp_path / "spec", tiny_model)
    for factor in (1.3, 1.1):
        store_residuals(plan.cells, [measured(plan.cell("sft-full"), factor)])
    found = corrected(planned(tmp_path / "spec", tiny_model), "sft-full")
    assert (found.count, found.factor) == (1, pytest.approx(1.1, rel=1e-4))


def test_measurements_of_other_models_count_only_where_the_same_model_was_never_measured(
    tmp_path: Path, tiny_model: Path
) -> None:
    wider = make_model(tmp_path / "wider", hidden=128)
    own, other = planned(tmp_path / "own", tiny_model), planned(tmp_path / "other", wider)
    store_residuals(other.cells, [measured(other.cell("sft-full"), 1.2)])
    found = corrected(planned(tmp_path / "own", tiny_model), "sft-full")
    assert (found.same_model, found.factor) == (False, pytest.approx(1.2, rel=1e-4))
    assert str(found) == "+20.0% (1 measurement of other models)"
    store_residuals(own.cells, [measured(own.cell("sft-full"), 1.05)])
    found = corrected(planned(tmp_path / "own", tiny_model), "sft-full")
    assert (found.same_model, found.factor) == (True, pytest.approx(1.05, rel=1e-4))


@pytest.mark.parametrize("change", ["gradient_checkpointing: true", "precision: pure_bf16"])
def test_a_cell_with_other_settings_is_not_corrected(tmp_path: Path, tiny_model: Path, change: str) -> None:
    plan = planned(tmp_path / "spec", tiny_model)
    store_residuals(plan.cells, [measured(plan.cell("sft-full"), 1.1)])
    text = SPEC.replace("batch_size: 2,", f"batch_size: 2, {change},")
    assert corrected(planned(tmp_path / "spec", tiny_model, text), "sft-full") == Correction()


def test_a_measurement_far_from_its_prediction_corrects_nothing(tmp_path: Path, tiny_model: Path) -> None:
    plan = planned(tmp_path / "spec", tiny_model)
    store_residuals(plan.cells, [measured(plan.cell("sft-full"), 5)])
    assert corrected(planned(tmp_path / "spec", tiny_model), "sft-full") == Correction()


def test_residuals_of_other_prediction_code_correct_nothing(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = planned(tmp_path / "spec", tiny_model)
    with monkeypatch.context() as earlier:
        earlier.setattr(residuals, "prediction_code_hash", lambda: "an earlier one")
        store_residuals(plan.cells, [measured(plan.cell("sft-full"), 1.1)])
    assert corrected(planned(tmp_path / "spec", tiny_model), "sft-full") == Correction()


@pytest.mark.parametrize("damage", ["", "not json", "[]", '{"a": {"x": 1}}'])
def test_a_damaged_cache_file_is_written_anew(tmp_path: Path, tiny_model: Path, damage: str) -> None:
    cache_file().parent.mkdir(parents=True, exist_ok=True)
    cache_file().write_text(damage)
    plan = planned(tmp_path / "spec", tiny_model)
    assert corrected(plan, "sft-full") == Correction()
    store_residuals(plan.cells, [measured(plan.cell("sft-full"), 1.1)])
    assert corrected(planned(tmp_path / "spec", tiny_model), "sft-full").count == 1


def test_residuals_in_the_old_file_are_still_read(tmp_path: Path, tiny_model: Path) -> None:
    plan = planned(tmp_path / "spec", tiny_model)
    store_residuals(plan.cells, [measured(plan.cell("sft-full"), 1.1)])
    old_names = {"similarity": "likeness", "predicted": "foretold", "code_version": "arithmetic"}
    stored = json.loads(cache_file().read_text())
    old = {key: {old_names.get(k, k): v for k, v in each.items()} for key, each in stored.items()}
    cache_file().unlink()
    cache_file().with_name("foretold.json").write_text(json.dumps(old))
    assert corrected(planned(tmp_path / "spec", tiny_model), "sft-full").count == 1
    store_residuals(plan.cells, [measured(plan.cell("sft-full"), 1.2, batch_size=4)])
    assert len(json.loads(cache_file().read_text())) == 2  # the old one and the new one


def test_records_without_a_measured_peak_are_not_stored(tmp_path: Path, tiny_model: Path) -> None:
    plan = planned(tmp_path / "spec", tiny_model)
    record = measured(plan.cell("sft-full"), 1.1).model_copy(update={"peak_train_bytes": None})
    store_residuals(plan.cells, [record])
    assert not cache_file().exists()


def test_only_the_newest_residuals_are_kept(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibration, "MAX_RESIDUALS", 2)
    plan = planned(tmp_path / "spec", tiny_model)
    for size in (2, 4, 8):
        store_residuals(plan.cells, [measured(plan.cell("sft-full"), 1.1, batch_size=size)])
    assert len(json.loads(cache_file().read_text())) == 2
