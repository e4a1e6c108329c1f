"""The searcher and the scheduler of a whole sweep: which trial is next, which is stopped, and resuming after a kill.

No Ray is started here: both are fed as Tune would.
"""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.tune.schedulers import AsyncHyperBandScheduler, TrialScheduler

from sweeps.cluster.packing import Machine
from sweeps.execution import run_folder as folders
from sweeps.planning.plan import Plan
from sweeps.search import asha as asha_module
from sweeps.search.asha import CellAsha
from sweeps.search.trial_sizes import slots
from tests.helpers.searches import Tune, config_of, end, search_of
from tests.helpers.specs import SPEC, plan
from trainables.results import read_record
from trainables.storage import files


def curve(run: Path, trial_id: str, *points: tuple[int, float], by: str = "objective") -> None:
    lines = [json.dumps({"step": step, "name": by, "value": value}) for step, value in points]
    (run / "trials" / trial_id / "curve.jsonl").write_text("\n".join(lines) + "\n")


# The searcher


def test_base_models_come_first_and_then_the_cells_in_turn(workdir: Path, run: Path) -> None:
    found = [config["cell"] for config in Tune(search_of(plan(workdir), run)).all()]
    assert found == ["sft-base", "sft-full", "sft-lora", "sft-full", "sft-lora", "sft-full", "sft-lora"]


def test_a_cell_with_a_larger_budget_continues_alone(workdir: Path, run: Path) -> None:
    text = SPEC.replace("{kind: full}", "{kind: full, search: {trials: 1}}")
    found = [config["cell"] for config in Tune(search_of(plan(workdir, text), run)).all()]
    assert found[1:] == ["sft-full", "sft-lora", "sft-lora", "sft-lora"]


def test_every_proposal_is_in_the_run_folder_before_it_runs(workdir: Path, run: Path) -> None:
    for config in Tune(search_of(plan(workdir), run)).all():
        assert config_of(run, config["trial_id"]).trial_id() == config["trial_id"]


def test_nothing_is_proposed_once_the_sweep_is_left(workdir: Path, run: Path) -> None:
    search = search_of(plan(workdir), run)
    search.shutdown.request()
    assert Tune(search).next() is None
    assert search.work.any_remaining()


def test_studies_store_what_the_records_say(workdir: Path, run: Path) -> None:
    planned = plan(workdir)
    tune = Tune(search_of(planned, run))
    ids = [config["trial_id"] for config in tune.all()]
    cells = {trial_id: config_of(run, trial_id).cell for trial_id in ids}
    full = [trial_id for trial_id in ids if cells[trial_id] == "sft-full"]
    tune.search.on_trial_result(tune.ours[full[1]], {"step": 2, "objective": 0.5})
    for trial_id, status, objective in zip(
        full, ("done", "stopped", "failed"), (0.75, 0.5, None), strict=True
    ):
        end(run, trial_id, status, objective)
        tune.complete(trial_id)
    trials = tune.search.work.studies["sft-full"].study.trials
    assert [(trial.state.name, trial.value) for trial in trials] == [
        ("COMPLETE", 0.75),
        ("PRUNED", 0.5),
        ("FAIL", None),
    ]


def test_a_trial_whose_slot_was_lost_runs_once_more_and_is_a_failed_row_then(
    workdir: Path, run: Path
) -> None:
    tune = Tune(search_of(plan(workdir), run))
    lost = tune.all()[1]["trial_id"]
    tune.complete(lost, error=True)
    assert read_record(run / "trials" / lost) is None
    assert [config["trial_id"] for config in tune.all()] == [lost]
    tune.complete(lost, error=True)
    record = read_record(run / "trials" / lost)
    assert record is not None
    assert record.status == "failed"
    assert "slot died" in (record.error or "")


def test_an_interrupted_trial_stays_unfinished_in_its_study_and_comes_first_next_time(
    workdir: Path, run: Path
) -> None:
    planned = plan(workdir)
    tune = Tune(search_of(planned, run))
    first = [tune.next() for _ in range(4)]  # the base and three of cells
    ids = [config["trial_id"] for config in first if config]
    for trial_id in ids[:2]:
        end(run, trial_id, "done", 0.5)
        tune.complete(trial_id)
    end(run, ids[2], "interrupted")
    tune.complete(ids[2])
    again = [config["trial_id"] for config in Tune(search_of(planned, run)).all()]
    assert set(again[:2]) == set(ids[2:])
    assert len(again) == 2 + 3  # two unfinished, three never begun
    assert not set(again) & set(ids[:2])


def test_a_trial_that_ended_while_the_driver_was_dead_is_stored_with_its_intermediate_results(
    workdir: Path, run: Path
) -> None:
    planned = plan(workdir)
    ids = [config["trial_id"] for config in Tune(search_of(planned, run)).all()]
    stopped = next(trial_id for trial_id in ids if config_of(run, trial_id).cell == "sft-lora")
    end(run, stopped, "stopped", 0.25)
    rung = planned.cells[-1].rungs[0]
    curve(run, stopped, (rung, 0.25), (rung + 1, 0.5), by="training_objective")
    study = search_of(planned, run).work.studies["sft-lora"].study
    assert (study.trials[0].state.name, study.trials[0].value) == ("PRUNED", 0.25)
    # What is validated between the steps that the search decides at, it isn't told of by a living driver either.
    assert study.trials[0].intermediate_values == {rung: 0.25}


def test_a_trial_proposed_by_a_driver_that_was_killed_before_it_wrote_the_config_is_run(
    workdir: Path, run: Path
) -> None:
    planned = plan(workdir)
    study = search_of(planned, run).work.studies["sft-lora"]
    proposed = study.ask()
    assert proposed is not None
    found = [config["trial_id"] for config in Tune(search_of(planned, run)).all()]
    assert found[0] == proposed.trial_id()
    assert len(found) == 7


def test_work_is_left_until_the_last_trial_has_its_record(workdir: Path, run: Path) -> None:
    planned = plan(workdir)
    tune = Tune(search_of(planned, run))
    ids = [config["trial_id"] for config in tune.all()]
    for trial_id in ids:
        assert search_of(planned, run).work.any_remaining()
        end(run, trial_id, "done", 0.5)
        tune.complete(trial_id)
    assert not search_of(planned, run).work.any_remaining()
    assert search_of(plan(workdir, SPEC, ("search.trials=4",)), run).work.any_remaining()


# The scheduler


class Stops:
    """The board, without Ray: it only remembers whom to stop."""

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.stop = SimpleNamespace(remote=lambda trial_id, reason: self.ids.append(trial_id))


@pytest.fixture
def stops(monkeypatch: pytest.MonkeyPatch) -> Stops:
    board = Stops()
    monkeypatch.setattr(asha_module, "find_board", lambda name: board)
    monkeypatch.setattr(asha_module.ray, "get", lambda answer: answer)
    return board


def asha(planned: Plan, run: Path) -> CellAsha:
    return CellAsha(planned, run, "board")


def feed(scheduler: CellAsha, cell: str, trial_id: str, step: int, objective: float) -> None:
    trial: Any = SimpleNamespace(config={"cell": cell, "trial_id": trial_id, "role": "search"})
    if trial_id not in getattr(scheduler, "seen", set()):
        scheduler.seen = {*getattr(scheduler, "seen", set()), trial_id}  # type: ignore[attr-defined]
        scheduler.on_trial_add(None, trial)
    verdict = scheduler.on_trial_result(None, trial, {"step": step, "objective": objective})
    assert verdict == TrialScheduler.CONTINUE  # Tune never takes a trial down


HALVES = (
    "search.order=depth",
    "search.rungs_by=validation",
    "search.grace_steps=2",
    "search.reduction_factor=2",
)  # rungs at 2 and 4 of 8 steps

# (trial, step, objective): at step 2 the median of 1, 3 is 2, of 1, 3, 2.5 is 2.5, ...
STORY = [
    ("a", 2, 1.0),  # the first always goes on
    ("b", 2, 3.0),
    ("c", 2, 2.5),  # 2.5 is above the median of 1 and 3
    ("d", 2, 2.0),  # below the median 2.5 of 1, 3, 2.5: stopped
    ("b", 4, 3.5),
    ("c", 4, 3.0),  # below the only one, 3.5: stopped
    ("a", 4, 3.5),  # as good as the median of 3.5 and 3: goes on
]


def test_asha_stops_who_falls_below_the_better_half_at_a_rung(workdir: Path, run: Path, stops: Stops) -> None:
    scheduler = asha(plan(workdir, SPEC, HALVES), run)
    for trial_id, step, objective in STORY:
        feed(scheduler, "sft-full", trial_id, step, objective)
    assert stops.ids == ["d", "c"]


def test_asha_stops_whom_rays_own_stops(workdir: Path, run: Path, stops: Stops) -> None:
    planned = plan(workdir, SPEC, HALVES)
    theirs = AsyncHyperBandScheduler("step", "objective", "max", max_t=8, grace_period=2, reduction_factor=2)
    ours, stopped = asha(planned, run), []
    for number in range(12):
        named: Any = SimpleNamespace(trial_id=f"t{number}")
        theirs.on_trial_add(None, named)
        for step in (2, 4):
            objective = (number * 7 % 12) / 12 + step / 10 * (number % 3)
            feed(ours, "sft-full", named.trial_id, step, objective)
            if (
                theirs.on_trial_result(None, named, {"step": step, "objective": objective})
                == TrialScheduler.STOP
            ):
                stopped.append(named.trial_id)
                break
        if stops.ids != stopped:
            break
    assert stops.ids == stopped
    assert stopped


def test_cells_are_compared_among_themselves_only(workdir: Path, run: Path, stops: Stops) -> None:
    scheduler = asha(plan(workdir, SPEC, HALVES), run)
    feed(scheduler, "sft-full", "a", 2, 10.0)
    feed(scheduler, "sft-full", "b", 2, 9.0)
    feed(scheduler, "sft-lora", "c", 2, 1.0)
    feed(scheduler, "sft-base", "base", 2, 0.0)
    assert stops.ids == ["b"]


def test_nobody_is_stopped_at_the_last_step_or_between_rungs(workdir: Path, run: Path, stops: Stops) -> None:
    scheduler = asha(plan(workdir, SPEC, HALVES), run)
    for step in (2, 3, 4, 5, 8):
        feed(scheduler, "sft-full", "a", step, 5.0)
    feed(scheduler, "sft-full", "b", 2, 6.0)
    feed(scheduler, "sft-full", "b", 3, 0.0)
    feed(scheduler, "sft-full", "b", 4, 6.0)
    feed(scheduler, "sft-full", "b", 8, 0.0)
    assert stops.ids == []


def test_without_a_scheduler_nobody_is_stopped(workdir: Path, run: Path, stops: Stops) -> None:
    scheduler = asha(plan(workdir, SPEC, ("search.scheduler=none",)), run)
    for number in range(5):
        feed(scheduler, "sft-full", f"t{number}", 4, -float(number))
    assert stops.ids == []


@pytest.mark.parametrize("cut", range(len(STORY)))
def test_a_resumed_asha_decides_as_if_it_had_never_been_away(
    workdir: Path, run: Path, stops: Stops, cut: int
) -> None:
    """Told so far by records and checkpoints; the rest it hears itself."""
    planned = plan(workdir, SPEC, HALVES)
    for trial_id in "abcd":
        mine = [(step, objective) for name, step, objective in STORY[:cut] if name == trial_id]
        if not mine:
            continue
        trial = run / "trials" / trial_id
        files.write_json(trial / "config.json", {"cell": "sft-full"})
        # It went on after its checkpoint, and will say so again.
        curve(run, trial_id, *mine, (7, 99.0))
        files.write_json(trial / f"checkpoint-{mine[-1][0]}" / "complete.json", {})
        (trial / "checkpoint-7").mkdir()  # not complete
    scheduler = asha(planned, run)
    for trial_id, step, objective in STORY[cut:]:
        feed(scheduler, "sft-full", trial_id, step, objective)
    heard = [name for name, step, _ in STORY[cut:] if (name, step) in (("d", 2), ("c", 4))]
    assert stops.ids == heard


def test_a_resumed_asha_knows_the_trials_that_are_done(workdir: Path, run: Path, stops: Stops) -> None:
    planned = plan(workdir, SPEC, HALVES)
    for config in Tune(search_of(planned, run)).all():
        if config["cell"] == "sft-full":
            end(run, config["trial_id"], "done", 5.0)
            curve(run, config["trial_id"], (2, 4.0), (4, 4.5), (8, 5.0))
    scheduler = asha(planned, run)
    feed(scheduler, "sft-full", "later", 2, 3.0)
    feed(scheduler, "sft-lora", "other", 2, 3.0)
    assert stops.ids == ["later"]


def test_a_resumed_asha_knows_that_a_trial_which_was_done_early_was_not_compared_there(
    workdir: Path, run: Path, stops: Stops
) -> None:
    planned = plan(workdir, SPEC, HALVES)
    files.write_json(run / "trials" / "early" / "config.json", {"cell": "sft-full"})
    curve(run, "early", (2, 1.0), (4, 9.0))
    # Killed while it was scored: there is no record yet.
    done = {"step": 4, "finished": True}
    files.write_json(run / "trials" / "early" / "checkpoint-4" / "complete.json", done)
    scheduler = asha(planned, run)
    feed(scheduler, "sft-full", "better", 2, 3.0)
    feed(scheduler, "sft-full", "better", 4, 3.5)
    assert stops.ids == []
    feed(scheduler, "sft-full", "worse", 2, 0.5)  # at step 2 it was compared
    assert stops.ids == ["worse"]


# How many trials at a time


@pytest.mark.parametrize(
    ("cluster", "sets", "expected"),
    [
        ([(2, 0)], (), 2),
        ([(2, 0)], ("resources.concurrent=1",), 1),
        ([(8, 0)], ("resources.concurrent=2",), 2),
        ([(8, 0)], ("resources.cpus=3",), 2),
        ([(4, 0), (4, 0)], ("resources.cpus=3",), 2),
        ([(8, 0)], ("resources.workers=2",), 4),
        ([(8, 0)], ("resources.workers=2", "resources.cpus=2", "resources.concurrent=5"), 2),
        ([(1, 0)], ("resources.cpus=2",), 1),  # at least one: a trial is tried
        ([(16, 2)], ("resources.gpus=1",), 2),
        ([(16, 2)], ("resources.gpus=0.5",), 4),
        ([(2, 8)], ("resources.gpus=1",), 2),
        ([(16, 4)], ("resources.gpus=1", "resources.workers=4"), 1),
        ([(8, 2), (8, 2)], ("resources.gpus=1", "resources.workers=4"), 1),
        ([(500, 0)], (), 64),
    ],
)
def test_slots_are_no_more_than_fit_the_cluster(
    workdir: Path, cluster: list[tuple[float, float]], sets: tuple[str, ...], expected: int
) -> None:
    given = [each.partition("=")[0] for each in sets]
    # A plan would choose what fits this machine.
    rest = ("resources.cpus=1", "resources.concurrent=null", "train.batch_size=4")
    sets = (*sets, *(each for each in rest if each.partition("=")[0] not in given))
    machines = [Machine(f"n{index}", cpus, gpus) for index, (cpus, gpus) in enumerate(cluster)]
    assert slots(plan(workdir, SPEC, sets), machines) == expected


# What was damaged


def test_a_trial_whose_record_was_damaged_is_run_again_and_no_other(
    workdir: Path, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    planned = plan(workdir)
    tune = Tune(search_of(planned, run))
    ids = [config["trial_id"] for config in tune.all()]
    for trial_id in ids:
        end(run, trial_id, "done", 0.5)
        tune.complete(trial_id)
    damaged = run / "trials" / ids[2] / "record.json"
    text = damaged.read_text()
    damaged.write_text(text[: len(text) // 2])
    assert len(folders.set_aside_damaged(run)) == 1
    assert (damaged.parent / "record.damaged.json").read_text() == text[: len(text) // 2]
    assert str(damaged) in capsys.readouterr().err
    search = search_of(planned, run)
    assert search.work.any_remaining()
    again = Tune(search)
    assert [config["trial_id"] for config in again.all()] == [ids[2]]
    end(run, ids[2], "done", 0.5)
    again.complete(ids[2])
    assert not search_of(planned, run).work.any_remaining()
    assert folders.set_aside_damaged(run) == []
