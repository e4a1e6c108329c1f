"""What was measured against what had been foretold corrects the next prediction, where cells are alike."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sweeps.planning.cell import Cell
from sweeps.planning.memory import residuals
from sweeps.planning.memory.calibration import learn
from sweeps.planning.memory.residuals import KEPT, Correction, place
from sweeps.planning.plan import Plan, make
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
    """The record of a trial that took ``factor`` times what had been foretold."""
    config = cell.first()
    config = config.model_copy(update={"train": config.train.model_copy(update=train)})
    assert cell.predicted is not None
    foretold = cell.predicted.of(config).prediction.total
    return Record(
        **config.identity(),
        status="done",
        device="cpu",
        memory_shape=config.memory_shape(),
        predicted_peak_bytes=foretold,
        peak_train_bytes=round(factor * foretold),
    )


def corrected(plan: Plan, cell: str) -> Correction:
    predicted = plan.cell(cell).predicted
    assert predicted is not None
    return predicted.most.correction


def test_a_measured_cell_is_foretold_as_it_was_measured(tmp_path: Path, tiny_model: Path) -> None:
    before = planned(tmp_path / "spec", tiny_model)
    record = measured(before.cell("sft-full"), 1.1)
    learn(before.cells, [record])
    after = planned(tmp_path / "spec", tiny_model)
    predicted = after.cell("sft-full").predicted
    assert predicted is not None
    assert predicted.most.total == pytest.approx(record.peak_train_bytes, rel=1e-6)
    assert predicted.most.prediction == before.cell("sft-full").predicted.most.prediction  # type: ignore[union-attr]
    assert corrected(after, "sft-lora") == Correction()  # another method errs otherwise


def test_the_plan_says_by_how_much_and_why(tmp_path: Path, tiny_model: Path) -> None:
    before = planned(tmp_path / "spec", tiny_model)
    learn(before.cells, [measured(before.cell("sft-full"), 1.1)])
    after = planned(tmp_path / "spec", tiny_model)
    said = "foretold peaks are corrected by what was measured before: sft-full +10.0% by 1 measurement"
    assert said in after.notes
    told = after.to_json()["cells"][0]["predicted"]
    assert told["correction"] == {"factor": pytest.approx(1.1, rel=1e-6), "count": 1, "same_model": True}
    assert told["peak_bytes"] > sum(told[name] for name in ("weights_bytes", "gradients_bytes"))
    assert not any("corrected" in note for note in before.notes)


def test_several_measurements_count_by_their_median(tmp_path: Path, tiny_model: Path) -> None:
    plan = planned(tmp_path / "spec", tiny_model)
    full = plan.cell("sft-full")
    for size, factor in ((2, 1.0), (4, 1.02), (8, 1.5)):
        learn(plan.cells, [measured(full, factor, batch_size=size)])
    found = corrected(planned(tmp_path / "spec", tiny_model), "sft-full")
    assert (found.count, found.factor) == (3, pytest.approx(1.02, rel=1e-4))


def test_a_shape_measured_again_takes_the_place_of_what_it_was(tmp_path: Path, tiny_model: Path) -> None:
    plan = planned(tmp_path / "spec", tiny_model)
    for factor in (1.3, 1.1):
        learn(plan.cells, [measured(plan.cell("sft-full"), factor)])
    found = corrected(planned(tmp_path / "spec", tiny_model), "sft-full")
    assert (found.count, found.factor) == (1, pytest.approx(1.1, rel=1e-4))


def test_another_model_helps_only_where_the_own_one_was_never_measured(
    tmp_path: Path, tiny_model: Path
) -> None:
    wider = make_model(tmp_path / "wider", hidden=128)
    own, other = planned(tmp_path / "own", tiny_model), planned(tmp_path / "other", wider)
    learn(other.cells, [measured(other.cell("sft-full"), 1.2)])
    found = corrected(planned(tmp_path / "own", tiny_model), "sft-full")
    assert (found.same_model, found.factor) == (False, pytest.approx(1.2, rel=1e-4))
    assert str(found) == "+20.0% by 1 measurement of other models"
    learn(own.cells, [measured(own.cell("sft-full"), 1.05)])
    found = corrected(planned(tmp_path / "own", tiny_model), "sft-full")
    assert (found.same_model, found.factor) == (True, pytest.approx(1.05, rel=1e-4))


@pytest.mark.parametrize("change", ["gradient_checkpointing: true", "precision: pure_bf16"])
def test_what_errs_otherwise_is_not_corrected_by_it(tmp_path: Path, tiny_model: Path, change: str) -> None:
    plan = planned(tmp_path / "spec", tiny_model)
    learn(plan.cells, [measured(plan.cell("sft-full"), 1.1)])
    text = SPEC.replace("batch_size: 2,", f"batch_size: 2, {change},")
    assert corrected(planned(tmp_path / "spec", tiny_model, text), "sft-full") == Correction()


def test_a_measurement_of_something_else_corrects_nothing(tmp_path: Path, tiny_model: Path) -> None:
    plan = planned(tmp_path / "spec", tiny_model)
    learn(plan.cells, [measured(plan.cell("sft-full"), 5)])
    assert corrected(planned(tmp_path / "spec", tiny_model), "sft-full") == Correction()


def test_what_another_arithmetic_foretold_says_nothing_of_this_one(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = planned(tmp_path / "spec", tiny_model)
    with monkeypatch.context() as earlier:
        earlier.setattr(residuals, "arithmetic", lambda: "an earlier one")
        learn(plan.cells, [measured(plan.cell("sft-full"), 1.1)])
    assert corrected(planned(tmp_path / "spec", tiny_model), "sft-full") == Correction()


@pytest.mark.parametrize("damage", ["", "not json", "[]", '{"a": {"x": 1}}'])
def test_a_damaged_memory_is_begun_anew(tmp_path: Path, tiny_model: Path, damage: str) -> None:
    place().parent.mkdir(parents=True, exist_ok=True)
    place().write_text(damage)
    plan = planned(tmp_path / "spec", tiny_model)
    assert corrected(plan, "sft-full") == Correction()
    learn(plan.cells, [measured(plan.cell("sft-full"), 1.1)])
    assert corrected(planned(tmp_path / "spec", tiny_model), "sft-full").count == 1


def test_records_without_a_measurement_teach_nothing(tmp_path: Path, tiny_model: Path) -> None:
    plan = planned(tmp_path / "spec", tiny_model)
    record = measured(plan.cell("sft-full"), 1.1).model_copy(update={"peak_train_bytes": None})
    learn(plan.cells, [record])
    assert not place().exists()


def test_only_the_newest_are_kept(tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(residuals, "KEPT", 2)
    plan = planned(tmp_path / "spec", tiny_model)
    for size in (2, 4, 8):
        learn(plan.cells, [measured(plan.cell("sft-full"), 1.1, batch_size=size)])
    assert len(json.loads(place().read_text())) == 2 < KEPT
