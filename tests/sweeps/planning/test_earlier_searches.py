"""Searches that begin with what an earlier run found (``search.from``)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sweeps.planning.plan import Cell, Plan
from sweeps.planning.resources.place import this_machine
from sweeps.search.study import ORIGIN, TRIAL_ID, CellStudy
from tests.helpers.specs import plan, spec_folder
from trainables.results import Record, write_record
from trainables.storage import files

FROM = ("search.from=earlier", "search.trials=6")


@pytest.fixture
def workdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)  # to which --set is relative
    return spec_folder(tmp_path)


def found(folder: Path, cell: Cell, objective: float, rate: float, rank: int = 8, **changes: Any) -> None:
    """A trial of the run ``earlier`` that has this objective."""
    values = {"train.learning_rate": rate, "method.rank": rank}
    config = cell.config({leaf: values[leaf] for leaf in cell.space})
    record = Record(**{**config.identity(), "status": "done", "objective": objective, **changes})
    trial = folder / "earlier" / "trials" / record.trial_id
    files.write_json(trial / "config.json", config.model_dump(mode="json"))
    write_record(trial, record)


def earlier_run(workdir: Path) -> dict[str, Cell]:
    """Both cells have finished trials: full two, lora three; the best of lora was only stopped."""
    cells = {cell.name: cell for cell in plan(workdir).cells}
    for objective, rate in ((-0.3, 1e-3), (-0.2, 2e-3)):
        found(workdir, cells["sft-full"], objective, rate)
    for objective, rate, rank in ((-0.5, 1e-3, 4), (-0.1, 3e-3, 8), (-0.4, 4e-3, 4)):
        found(workdir, cells["sft-lora"], objective, rate, rank)
    found(workdir, cells["sft-lora"], -0.01, 5e-3, status="stopped")
    return cells


def errors(planned: Plan) -> list[str]:
    return [str(problem) for problem in planned.errors]


def test_each_cell_begins_with_the_best_finished_settings_of_its_name_and_all_with_as_many(
    workdir: Path,
) -> None:
    earlier_run(workdir)
    planned = plan(workdir, sets=FROM)
    assert errors(planned) == []
    assert planned.cell("sft-full").starts == ({"train.learning_rate": 2e-3}, {"train.learning_rate": 1e-3})
    assert planned.cell("sft-lora").starts == (
        {"train.learning_rate": 3e-3, "method.rank": 8},
        {"train.learning_rate": 4e-3, "method.rank": 4},
    )
    assert (
        "the search of every cell begins with the 2 best settings that earlier found for it (search.from)"
        in planned.notes
    )
    assert any("the best 2 of an earlier run" in note for note in planned.notes)


def test_a_run_that_has_begun_does_not_need_the_earlier_run_again(workdir: Path) -> None:
    new = plan(workdir, sets=FROM)
    assert all("earlier" in error for error in errors(new))
    assert len(new.errors) == 1
    begun = plan(workdir, sets=FROM, place=this_machine().resumed({"plan": {}}))
    assert errors(begun) == []


def test_at_most_as_many_as_the_spec_says_and_only_what_its_domains_allow(workdir: Path) -> None:
    earlier_run(workdir)
    few = plan(workdir, sets=(*FROM, "search.earlier_trials=1"))
    assert [len(cell.starts) for cell in few.cells] == [1, 1]
    narrow = plan(workdir, sets=(*FROM, "train.learning_rate={log: [1e-4, 1.5e-3]}"))
    assert [cell.starts for cell in narrow.cells] == [
        ({"train.learning_rate": 1e-3},),
        ({"train.learning_rate": 1e-3, "method.rank": 4},),
    ]


def test_the_first_trials_have_these_settings_also_when_the_earlier_run_has_grown(workdir: Path) -> None:
    cells = earlier_run(workdir)
    run = workdir / "run"
    run.mkdir()
    study = CellStudy(run, plan(workdir, sets=FROM).cell("sft-full"))
    first = study.ask()
    assert first is not None
    assert first.train.learning_rate == 2e-3
    found(workdir, cells["sft-full"], -0.1, 4e-3)
    resumed = CellStudy(run, plan(workdir, sets=FROM).cell("sft-full"))
    second, third = resumed.ask(), resumed.ask()
    assert second is not None
    assert third is not None
    assert second.train.learning_rate == 1e-3
    origins = {t.user_attrs[TRIAL_ID]: t.user_attrs[ORIGIN] for t in resumed.study.trials}
    assert [origins[config.trial_id()] for config in (first, second, third)] == ["earlier"] * 2 + [
        "quasi-random"
    ]


def test_a_cell_that_the_earlier_run_found_nothing_for_is_an_error(workdir: Path) -> None:
    cells = {cell.name: cell for cell in plan(workdir).cells}
    found(workdir, cells["sft-full"], -0.3, 1e-3)
    found(workdir, cells["sft-lora"], -0.1, 3e-3, status="failed")
    (error,) = errors(plan(workdir, sets=FROM))
    assert "earlier has no finished trial of sft-lora with settings that this search allows" in error


def test_a_folder_that_is_no_run_is_an_error(workdir: Path) -> None:
    (error,) = {message.partition(": ")[2] for message in errors(plan(workdir, sets=FROM))}
    assert "is no run: give the folder or the URL of one, such as runs/methods" in error


def test_a_start_for_some_cells_alone_is_an_error(workdir: Path) -> None:
    earlier_run(workdir)
    (error,) = errors(plan(workdir, sets=("methods[0].search.from=earlier",)))
    assert "only some cells would begin with what an earlier run found" in error
