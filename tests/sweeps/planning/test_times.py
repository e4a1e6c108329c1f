"""Predicted minutes: from the speed of trials that ran on this machine, scaled by what there is to do."""

from __future__ import annotations

import json
import socket
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from sweeps.cli import app
from sweeps.execution import speed_measurement
from sweeps.planning.cell import Cell
from sweeps.planning.plan import Plan
from sweeps.planning.plan_json import plan_json
from sweeps.planning.times import speeds
from sweeps.planning.times.prediction import PlanTime
from sweeps.planning.times.speeds import Speed
from sweeps.planning.times.wording import time_lines
from sweeps.planning.times.work import work_of
from sweeps.spec.spec import read
from tests.helpers.specs import SPEC, plan, spec_folder
from tests.helpers.sweeps import SPEC as TINY
from tests.helpers.sweeps import write_spec
from trainables.results import Record

GIVEN = "resources={gpus: 0, cpus: 1, concurrent: 2}"
QWEN = SPEC.replace("path: model", "name: qwen3-8b")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PARETUNE_HOME", str(tmp_path / "home"))
    return spec_folder(tmp_path)


# Compared at steps 2 and 6 of 8, on the validation rows.
IN_DEPTH = ("search.order=depth", "search.rungs_by=validation", "search.grace_steps=2")


def planned(folder: Path, text: str = SPEC, *sets: str) -> Plan:
    return plan(folder, text, (GIVEN, *IN_DEPTH, *sets))


def remember(made: Plan, cell: str = "sft-lora", **changes: Any) -> Speed:
    """Stores a trial of 100 tokens a second, 10 scored rows a second, and 5 seconds beside that."""
    config = made.cell(cell).suggested()
    speed = Speed(
        similarity=speeds.similarity_key(config, 1),
        hardware=speeds.hardware(False),
        model=config.model.label,
        parameters=10**6,
        cpus=1,
        data=speeds.data_key(config),
        tokens=1000,
        rows=50,
        train_seconds=10.0,
        test_rows=20,
        test_seconds=2.0,
        other_seconds=5.0,
    )
    speed = replace(speed, **changes)
    speeds.store({f"trial {cell} {speed.model} {speed.cpus}": speed})
    return speed


def trial_seconds(times: PlanTime, cell: str = "sft-lora") -> float:
    found = times.cells[cell]
    assert found is not None
    return found.trial.seconds


def test_minutes_are_unknown_until_a_trial_like_them_has_run(folder: Path) -> None:
    made = planned(folder)
    times = made.times()
    assert times.unknown == ["sft-full", "sft-lora"]
    (line,) = time_lines(times, "my.yaml")
    assert line.startswith(
        "the minutes of sft-full, sft-lora are unknown: no such trial has run on this machine. "
    )
    assert "paretune plan my.yaml --measure trains a few steps of each" in line
    written = plan_json(made)
    assert written["time"]["minutes"] is None
    assert [cell["trial_minutes"] for cell in written["cells"]] == [None, None]


def test_of_many_cells_the_first_are_named(folder: Path) -> None:
    entries = "".join(f"  - {{kind: lora, rank: {rank}}}\n" for rank in range(1, 8))
    made = planned(
        folder, SPEC.replace("  - {kind: full}\n  - {kind: lora, rank: {choice: [4, 8]}}\n", entries)
    )
    (line,) = time_lines(made.times(), "my.yaml")
    assert (
        "of sft-lora-rank1, sft-lora-rank2, sft-lora-rank3, sft-lora-rank4 and 3 other cells are unknown"
        in line
    )


def test_a_trial_takes_what_its_tokens_rows_and_the_rest_take(folder: Path) -> None:
    made = planned(folder)
    remember(made)
    work = work_of(made.cell("sft-lora"), known_row_tokens=20.0)
    # The folder's model has no tokenizer; rows of the same data had 20 tokens.
    assert (work.rows, work.row_tokens, work.steps) == (16, 20.0, 8)
    # Steps 2, 6 (ASHA's) and 8: eleven validation rows each; and eleven test rows.
    assert work.validated_rows(8) + work.test_rows == 44
    assert trial_seconds(made.times()) == pytest.approx(16 * 20 / 100 + 44 / 10 + 5)
    assert made.times().unknown == ["sft-full"]


def test_another_size_of_model_scales_by_parameters_times_tokens(folder: Path) -> None:
    made = planned(folder, QWEN, "data.cutoff=512")
    small = remember(made, model="smaller", parameters=8_190_735_360 // 100, other_seconds=0.0)
    (parameters,) = {cell.predicted.largest.model.shape.params for cell in made.cells if cell.predicted}
    work = work_of(made.cell("sft-lora"), known_row_tokens=20.0)
    ratio = parameters / small.parameters
    assert ratio == pytest.approx(100, rel=0.001)
    expected = ratio * (work.rows * 20 / 100 + (work.validated_rows(8) + work.test_rows) / 10)
    assert trial_seconds(made.times()) == pytest.approx(expected)
    assert "the minutes of sft-lora are scaled from 1 trial of smaller on this machine" in "\n".join(
        time_lines(made.times(), "x")
    )
    # One trial of the model itself is worth more than any of another one.
    remember(made, train_seconds=100.0, other_seconds=0.0)
    assert trial_seconds(made.times()) == pytest.approx(
        work.rows * 20 / 10 + (work.validated_rows(8) + work.test_rows) / 10
    )


def test_more_cores_make_a_trial_faster_unless_it_was_measured_with_as_many(folder: Path) -> None:
    made = planned(folder, SPEC, "resources.cpus=2")
    remember(made, other_seconds=0.0)
    one_core = trial_seconds(planned(folder).times())
    assert trial_seconds(made.times()) == pytest.approx(one_core / 2)
    remember(made, other_seconds=0.0, cpus=2)
    assert trial_seconds(made.times()) == pytest.approx(one_core)


@pytest.mark.parametrize(
    "change", ["train.precision=fp32", "train.gradient_checkpointing=true", "methods[1].kind=qlora"]
)
def test_trials_that_differ_in_speed_are_not_taken_for_one_another(folder: Path, change: str) -> None:
    remember(planned(folder))
    other = planned(folder, SPEC, change)
    assert other.times().unknown == [cell.name for cell in other.cells]


def test_another_machine_is_not_this_one(folder: Path) -> None:
    made = planned(folder)
    remember(made, hardware="another processor")
    assert made.times().unknown == ["sft-full", "sft-lora"]


def test_a_sweep_takes_what_its_slots_take_and_less_where_trials_end_early(folder: Path) -> None:
    without = planned(folder, SPEC, "search.scheduler=none")
    for cell in ("sft-full", "sft-lora"):
        remember(without, cell, test_rows=0, test_seconds=0.0, other_seconds=0.0, train_seconds=1000.0)
    trial = 16 * 20.0
    times = without.times()
    assert (times.seconds, times.least) == pytest.approx((3 * trial, 3 * trial))  # six trials, two at a time
    with_asha = planned(folder).times()
    assert with_asha.seconds == pytest.approx(3 * trial)
    # Of three trials two end at step 2 of 8, and the one that is left is not stopped at step 6.
    assert with_asha.cells["sft-lora"].least == pytest.approx(trial * (1 + 2 / 4))  # type: ignore[union-attr]
    # In breadth it is known that two end at step 4 and one goes on.
    breadth = ("search.order=breadth", "search.rungs_by=auto")
    in_breadth = planned(folder, SPEC, *breadth).times().cells["sft-lora"]
    assert in_breadth is not None
    assert (in_breadth.seconds, in_breadth.least) == pytest.approx([trial * (1 + 2 * 4 / 8)] * 2)
    again = planned(folder, SPEC, "search.scheduler=none", "finalists.seeds=2").times()
    assert again.seconds == pytest.approx((3 + 2) * trial)
    text = SPEC.replace(
        "[{kind: sft}]", "[{kind: sft, name: first}, {kind: sft, name: second, model: {from: first}}]"
    )
    chain = planned(folder, text, "search.scheduler=none", "search.trials=1").times()
    assert chain.seconds == pytest.approx(2 * trial)


def test_a_finalist_is_not_set_up_again_as_a_trial_that_pauses_is(folder: Path) -> None:
    breadth = ("search.order=breadth", "search.rungs_by=auto")
    remember(planned(folder), "sft-lora", other_seconds=5.0)
    searched = planned(folder, SPEC, *breadth).times().cells["sft-lora"]
    both = planned(folder, SPEC, *breadth, "finalists.seeds=2").times().cells["sft-lora"]
    assert searched is not None
    assert both is not None
    assert both.seconds - searched.seconds == pytest.approx(2 * (both.trial.seconds - 5.0))


def test_the_plan_has_minutes_for_each_cell_and_in_all(folder: Path) -> None:
    for cell in ("sft-full", "sft-lora"):
        remember(planned(folder), cell, train_seconds=2000.0)
    sets = [option for each in (GIVEN, *IN_DEPTH) for option in ("--set", each)]
    shown = CliRunner().invoke(app, ["plan", str(folder / "spec.yaml"), *sets]).stdout
    assert "minutes: 8.2 to 16 (11 a trial)" in shown
    assert (
        "predicted time: 19 to 33 minutes, with 2 trials at a time (less where trials are stopped early)"
        in shown
    )
    assert "starting Ray comes on top, and its time is unknown before the first sweep" in shown
    assert "the minutes of sft-full, sft-lora are from 1 trial like it on this machine" in shown
    assert "a trial is stopped where it is behind the others of its cell: at step 2 (compared on the" in shown
    written = plan_json(planned(folder))
    assert written["time"]["minutes"] == pytest.approx(32.6, abs=0.5)
    assert written["time"]["unknown"] == []
    assert written["cells"][1]["trial_minutes"] == pytest.approx(10.8, abs=0.1)
    assert written["resources"] == {"workers": 1, "gpus": 0, "cpus": 1, "concurrent": 2}


# What is kept of a run


def record(made: Plan, **changes: Any) -> Record:
    """That of a trial of 30 s: 12 of training, 6 of scoring (4 of test rows), and the rest."""
    config = made.cell("sft-lora").suggested()
    began = time.time() - 40
    values = {
        **config.identity(), "status": "done", "steps": 8, "tokens": 320, "train_seconds": 12.0, "eval_seconds": 6.0,
        "test_seconds": 4.0, "test_rows": 11, "total_params": 1000, "device": "cpu", "workers": 1, "slot_trial": 1,
        "host": socket.gethostname(),
        "started_at": datetime.fromtimestamp(began, UTC).isoformat(),
        "ended_at": datetime.fromtimestamp(began + 30, UTC).isoformat(),
    }  # fmt: skip
    return Record(**{**values, **changes})


def test_a_runs_trials_are_kept_for_the_next_plan(folder: Path) -> None:
    made = planned(folder)
    kept = record(made)
    speeds.store_speeds(made.cells, [kept], seconds=55.0)
    (speed,) = speeds.stored_speeds().values()
    assert (speed.tokens, speed.rows, speed.train_seconds) == (320, 16, 12.0)
    assert (speed.test_rows, speed.test_seconds, speed.cpus) == (11, 4.0, 1)
    assert speed.other_seconds == pytest.approx(12.0, abs=0.1)
    # The sweep took 55 s, and its one trial 30.
    assert speeds.start_seconds() == pytest.approx(25.0, abs=1)
    assert trial_seconds(made.times()) == pytest.approx(12 + 44 * 4 / 11 + 12, abs=0.1)


def test_what_the_first_trial_of_a_slot_takes_beside_counts_once(folder: Path) -> None:
    made = planned(folder)
    ended = datetime.fromtimestamp(time.time(), UTC).isoformat()
    first = record(made, slot_trial=0, ended_at=ended, trial_id="first")  # 40 s instead of 30
    speeds.store_speeds(made.cells, [first, record(made)], seconds=55.0)
    assert sorted(speed.first for speed in speeds.stored_speeds().values()) == [False, True]
    assert speeds.start_seconds() == pytest.approx(15 + 10, abs=1)
    assert trial_seconds(made.times()) == pytest.approx(12 + 44 * 4 / 11 + 12, abs=0.1)


@pytest.mark.parametrize(
    "changes",
    [
        {"status": "interrupted"},
        {"status": "failed"},
        {"host": "elsewhere"},
        {"retried_batch_size": 1},
        {"train_seconds": 500.0},  # in an earlier session
        {"started_at": "2026-01-01T00:00:00+00:00"},  # before this session
    ],
)
def test_what_says_nothing_of_the_next_trials_is_not_kept(folder: Path, changes: dict[str, Any]) -> None:
    made = planned(folder)
    speeds.store_speeds(made.cells, [record(made, **changes)], seconds=55.0)
    assert speeds.stored_speeds() == {}


def test_a_damaged_file_of_speeds_is_written_anew(folder: Path) -> None:
    made = planned(folder)
    for damaged in ("{", "[]", '{"trials": [1]}', '{"trials": {"a": {"no": 1}}, "start_seconds": "x"}'):
        speeds.cache_file().parent.mkdir(exist_ok=True)
        speeds.cache_file().write_text(damaged)
        assert speeds.stored_speeds() == {}
        assert speeds.start_seconds() == 0
        remember(made)
        assert len(speeds.stored_speeds()) == 1


def test_the_oldest_speeds_make_way(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speeds, "MAX_SPEEDS", 2)
    made = planned(folder)
    for cpus in (1, 2, 3):
        remember(made, cpus=cpus)
    assert [speed.cpus for speed in speeds.stored_speeds().values()] == [2, 3]


# Parts that are too small


def test_parts_of_fewer_than_30_rows_are_warned_of(folder: Path) -> None:
    (folder / "spec.yaml").write_text(SPEC)
    shown = CliRunner().invoke(app, ["plan", str(folder / "spec.yaml"), "--set", GIVEN])
    assert shown.exit_code == 0
    assert (
        "data.eval_fraction: data rows.jsonl: 11 validation rows, by which the best trial is chosen and 11 test rows, "
        "by which it is judged: fewer than 30 rows mostly show chance; hold out more"
    ) in " ".join(shown.stderr.split())
    rows = [json.dumps({"prompt": f"say {n}", "completion": str(n)}) for n in range(200)]
    (folder / "rows.jsonl").write_text("\n".join(rows))
    enough = CliRunner().invoke(app, ["plan", str(folder / "spec.yaml"), "--set", GIVEN])
    assert "fewer than 30" not in enough.stderr
    limited = CliRunner().invoke(app, ["plan", str(folder / "spec.yaml"), "--set", "data.eval_rows=8"])
    assert "data.eval_rows: data rows.jsonl: 8 validation rows" in " ".join(limited.stderr.split())


# Measuring


@pytest.mark.parametrize(
    ("methods", "seconds", "measured"),
    # Of three cells that take two minutes all are measured, and of seven as many as a minute has begun.
    [(3, 25.0, 3), (3, 39.0, 3), (3, 45.0, 2), (7, 10.0, 7), (7, 40.0, 2)],
)
def test_each_cell_is_measured_once_and_none_is_left_out_that_there_is_time_for(
    folder: Path, monkeypatch: pytest.MonkeyPatch, methods: int, seconds: float, measured: int
) -> None:
    ranks = ", ".join(f"{{kind: lora, rank: {rank}}}" for rank in range(1, methods + 1))
    made = planned(folder, SPEC, f"methods=[{ranks}]")
    now, names, said = [0.0], list[str](), list[str]()

    def measure_cell(cell: Cell, log: Any) -> None:
        names.append(cell.name)
        now[0] += seconds

    monkeypatch.setattr(speed_measurement, "_measure_cell", measure_cell)
    monkeypatch.setattr(speed_measurement, "_import_libraries", lambda: None)
    monkeypatch.setattr(speed_measurement.time, "monotonic", lambda: now[0])
    speed_measurement.measure(made, said.append)
    assert names == [cell.name for cell in made.cells][:measured]
    assert bool(said) == (measured < methods)


def test_measure_trains_a_few_steps_of_what_is_unknown(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PARETUNE_HOME", str(tmp_path / "home"))
    spec = write_spec(tmp_path, tiny_model, TINY)
    arguments = ["plan", str(spec), "--method", "lora", "--json", "--measure"]
    first = CliRunner().invoke(app, arguments)
    assert first.exit_code == 0, first.output
    assert "sft-lora: 4 steps" in first.stderr
    measured = json.loads(first.stdout)
    assert measured["time"]["unknown"] == []
    (cell,) = measured["cells"]
    assert 0 < cell["trial_minutes"] < 5
    (speed,) = speeds.stored_speeds().values()
    assert speed.rows == 4 * read(spec).source.tree["train"]["batch_size"]
    again = CliRunner().invoke(app, arguments)
    assert "4 steps" not in again.stderr  # it is known by now
    assert not list(tmp_path.glob("runs*"))
