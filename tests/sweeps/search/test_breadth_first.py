"""A search in breadth, fed as Tune and the workers would: all trials to the first rung, then the best of each cell."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sweeps.execution.run_folder import keep_first_comparison
from sweeps.planning.plan import Plan
from sweeps.search import asha as asha_module
from sweeps.search.asha import CellAsha
from sweeps.search.first_comparison import FirstComparison, in_words
from tests.helpers.searches import Tune, config_of, end, search_of
from tests.helpers.specs import SPEC, plan
from trainables import results
from trainables.results import TRAINING_OBJECTIVE, Record, read_record, write_record
from trainables.storage import files

# Of six trials of 40 steps, two go on after step 4 and one after step 12.
SIX = ("search={trials: 6, sampler: random, grace_steps: 4}", "train.steps=40")
CELLS = ("sft-full", "sft-lora")


class Workers:
    """What trials leave in a run folder; a trial's worth is by its place in its cell."""

    def __init__(self, planned: Plan, run: Path) -> None:
        self.run = run
        self.rungs = {cell.name: cell.rungs for cell in planned.cells}
        self.search = search_of(planned, run)
        self.tune = Tune(self.search)
        self.trained: dict[str, list[int]] = {}  # by trial, the steps at which it paused or ended

    def worth(self, trial_id: str) -> float:
        """Later proposals are better."""
        cell = config_of(self.run, trial_id).cell
        return list(self.search.work.studies[cell].proposed()).index(trial_id) / 10

    def next(self) -> dict[str, Any] | None:
        return self.tune.next()

    def train(self, handed: dict[str, Any], until: int | None = None) -> None:
        """Trains a trial to its next rung, or to its end; or up to a step at which the sweep is interrupted."""
        trial_id = handed["trial_id"]
        config = config_of(self.run, trial_id)
        if config.role != "search":
            end(self.run, trial_id, "done", 0.5)
            self.tune.complete(trial_id)
            return
        rung = next((rung for rung in self.rungs[config.cell] if rung > handed["passed"]), None)
        step = until or rung or 40
        if step == rung:
            self._reach(trial_id, rung)
        interrupted = until is not None or rung is not None
        self._record(trial_id, "interrupted" if interrupted else "done", step)
        self.trained.setdefault(trial_id, []).append(step)
        self.tune.complete(trial_id)

    def _reach(self, trial_id: str, rung: int) -> None:
        point = {"step": rung, "name": TRAINING_OBJECTIVE, "value": self.worth(trial_id) + rung}
        with (self.run / "trials" / trial_id / "curve.jsonl").open("a") as curve:
            curve.write(json.dumps(point) + "\n")
        result = {"step": rung, "objective": point["value"]}
        self.search.on_trial_result(self.tune.ours[trial_id], result)

    def _record(self, trial_id: str, status: Any, step: int) -> None:
        identity = config_of(self.run, trial_id).identity()
        record = Record(**identity, status=status, steps=step, objective=self.worth(trial_id))
        write_record(self.run / "trials" / trial_id, record)

    def run_all(self) -> list[tuple[str, int]]:
        """All trials in the order in which they are handed out: (cell, the rung that it goes on from)."""
        order = []
        while (handed := self.next()) is not None:
            order.append((handed["cell"] if handed["role"] == "search" else handed["role"], handed["passed"]))
            self.train(handed)
        return order

    def ends(self, cell: str = "sft-full") -> list[tuple[str, int | None]]:
        """(status, steps) of a cell's trials by their proposals."""
        found = map(self.record, self.search.work.studies[cell].proposed())
        return [(record.status, record.steps) for record in found if record is not None]

    def record(self, trial_id: str) -> Record | None:
        return read_record(self.run / "trials" / trial_id)


ENDS = [("stopped", 4)] * 4 + [("stopped", 12), ("done", 40)]


@pytest.fixture
def planned(workdir: Path) -> Plan:
    return plan(workdir, SPEC, SIX)


def test_all_trials_of_all_cells_reach_the_first_rung_before_any_goes_on(planned: Plan, run: Path) -> None:
    workers = Workers(planned, run)
    order = workers.run_all()
    assert sorted(order[1:13]) == [(cell, 0) for cell in CELLS for _ in range(6)]
    assert sorted(order[13:]) == sorted([(cell, rung) for cell in CELLS for rung in (4, 4, 12)])


def test_the_best_third_goes_on_at_each_rung_and_the_others_are_stopped_where_they_paused(
    planned: Plan, run: Path
) -> None:
    workers = Workers(planned, run)
    workers.run_all()
    assert [workers.ends(cell) for cell in CELLS] == [ENDS, ENDS]
    assert not workers.search.work.any_remaining()
    stopped = workers.record(next(iter(workers.search.work.studies["sft-full"].proposed())))
    assert stopped is not None
    assert (stopped.objective, stopped.compared_by, stopped.quality) == (4.0, "training", None)


def test_a_study_knows_how_trials_ended_that_were_stopped_while_they_paused(planned: Plan, run: Path) -> None:
    workers = Workers(planned, run)
    workers.run_all()
    trials = workers.search.work.studies["sft-full"].study.trials
    assert [trial.state.name for trial in trials] == ["PRUNED"] * 5 + ["COMPLETE"]
    assert trials[4].intermediate_values == pytest.approx({4: 4.4, 12: 12.4})


@pytest.mark.parametrize("handed_out", range(1, 19))
@pytest.mark.parametrize("middle", [False, True], ids=["between trials", "in a trial"])
def test_a_search_that_is_resumed_after_any_trial_ends_as_an_undisturbed_one(
    planned: Plan, run: Path, handed_out: int, middle: bool
) -> None:
    workers = Workers(planned, run)
    for number in range(handed_out):
        handed = workers.next()
        assert handed is not None
        if number == handed_out - 1 and middle and handed["role"] == "search":
            # A step after where it began: its checkpoint is older, or it repeats its first steps.
            workers.train(handed, until=handed["passed"] + 1)
        else:
            workers.train(handed)
    resumed = Workers(planned, run)
    resumed.run_all()
    assert [resumed.ends(cell) for cell in CELLS] == [ENDS, ENDS]
    assert not resumed.search.work.any_remaining()


def test_a_driver_that_was_killed_between_verdict_and_records_gives_the_same_verdict(
    planned: Plan, run: Path
) -> None:
    workers = Workers(planned, run)
    for _ in range(13):
        handed = workers.next()
        assert handed is not None
        workers.train(handed)
    # The records of the stopped are taken back, and the best has lost the record of its pause.
    ids = list(workers.search.work.studies["sft-full"].proposed())
    for trial_id in ids[:4]:
        workers._record(trial_id, "interrupted", 4)
    (run / "trials" / ids[5] / "record.json").unlink()
    resumed = Workers(planned, run)
    resumed.run_all()
    assert resumed.ends() == ENDS


def test_a_trial_that_fails_before_the_rung_is_not_waited_for(planned: Plan, run: Path) -> None:
    workers = Workers(planned, run)
    failed = None
    while (handed := workers.next()) is not None:
        if handed["cell"] == "sft-full" and failed is None:
            failed = handed["trial_id"]
            end(run, failed, "failed")
            workers.tune.complete(failed)
        else:
            workers.train(handed)
    assert workers.ends() == [("failed", None), *ENDS[1:]]


def test_more_trials_after_a_resume_have_the_larger_budget(workdir: Path, run: Path) -> None:
    Workers(plan(workdir, SPEC, SIX), run).run_all()
    larger = Workers(
        plan(workdir, SPEC, ("search={trials: 12, sampler: random, grace_steps: 4}", "train.steps=40")), run
    )
    larger.run_all()
    # Four of twelve go on after the first rung: two did before.
    assert [steps for _, steps in larger.ends()][6:].count(4) == 4
    assert larger.ends()[-1] == ("done", 40)


def test_of_trials_that_go_on_and_finalists_the_longest_comes_first(workdir: Path, run: Path) -> None:
    workers = Workers(plan(workdir, SPEC.replace("finalists: {seeds: 1}\n", ""), SIX), run)
    workers.search.queue.seconds = {"sft-full": 100.0, "sft-lora": 10.0}
    order = workers.run_all()[13:]
    # Full's finalists begin as soon as its search has ended, before the other cell's trials that are shorter.
    assert order == [
        *[("sft-full", rung) for rung in (4, 4, 12)],
        *[("finalist", 0)] * 3,
        *[("sft-lora", rung) for rung in (4, 4, 12)],
        *[("finalist", 0)] * 3,
    ]


def test_the_first_comparison_is_made_once_when_all_cells_are_at_their_first_rung(
    planned: Plan, run: Path
) -> None:
    files.write_json(run / "environment.json", {"plan": {}})
    workers, lines = Workers(planned, run), []
    kept: list[dict[str, Any]] = []
    watch = FirstComparison(workers.search.work, run, lines.append, kept.append, seconds=60)
    at = []
    while (handed := workers.next()) is not None:
        workers.train(handed)
        watch()
        at.append(len(lines))
    assert (at[:12], at[12:]) == ([0] * 12, [1] * (len(at) - 12))
    (comparison,) = kept
    assert [(cell["cell"], cell["value"], cell["step"], cell["trials"]) for cell in comparison["cells"]] == [
        (cell, pytest.approx(4.5), 4, 6) for cell in CELLS
    ]
    best = comparison["cells"][0]["trial_id"]
    assert lines[0].startswith("first comparison after 1 min ")
    assert f" s, of 12 trials: sft-full -4.5 ({best}), sft-lora -4.5 (" in lines[0]
    assert lines[0].endswith("at step 4 of 40, training loss (lower is better)")
    keep_first_comparison(run, comparison)
    assert json.loads((run / "environment.json").read_text())["first_comparison"]["text"] == lines[0]


def test_cells_of_other_models_are_not_ranked_among_each_other() -> None:
    known = {"stage": "sft", "data": "rows", "step": 4, "steps": 40, "compared_by": "training", "trials": 3}
    cells = [
        {**known, "cell": name, "model": model, "value": value, "trial_id": name}
        for name, model, value in (("a", "one", -0.9), ("b", "two", -0.512), ("c", "one", -0.7))
    ]
    assert in_words(60, cells) == (
        "first comparison after 1 min 0 s, of 9 trials: c 0.7 (c), a 0.9 (a) at step 4 of 40, training loss (lower is "
        "better); b 0.512 (b) at step 4 of 40, training loss (lower is better)"
    )


def test_paused_trials_are_neither_ended_nor_waiting_to_start(planned: Plan, run: Path) -> None:
    workers = Workers(planned, run)
    for _ in range(3):
        handed = workers.next()
        assert handed is not None
        workers.train(handed)
    work = workers.search.work
    assert (len(list(work.paused)), work.waiting, work.later) == (2, [], [])
    counts = Counter(config.cell for config in work.paused)
    held = [
        (f"the comparison of {cell}", f"trials that have not come as far; {counts[cell]} have")
        for cell in counts
    ]
    assert list(work.held()) == held
    assert all(not results.has_ended(work.folder(config.trial_id())) for config in work.paused)


def test_every_trial_pauses_at_a_rung_and_none_is_stopped_there(
    planned: Plan, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paused: list[str] = []
    board = SimpleNamespace(pause=SimpleNamespace(remote=paused.append))
    monkeypatch.setattr(asha_module, "find_board", lambda name: board)
    monkeypatch.setattr(asha_module.ray, "get", lambda answer: answer)
    scheduler = CellAsha(planned, run, "board")
    for trial_id, step, role in (
        ("a", 4, "search"),
        ("b", 12, "search"),
        ("c", 40, "search"),
        ("d", 4, "finalist"),
    ):
        trial: Any = SimpleNamespace(config={"cell": "sft-full", "trial_id": trial_id, "role": role})
        scheduler.on_trial_add(None, trial)
        scheduler.on_trial_result(None, trial, {"step": step, "objective": 1.0})
    assert paused == ["a", "b"]


def test_a_trial_that_was_done_early_at_a_rung_is_neither_paused_there_nor_in_the_place_of_another(
    workdir: Path, run: Path
) -> None:
    sets = ("train.eval_steps=1", "train.early_stopping={patience: 2}", *SIX)
    workers = Workers(plan(workdir, SPEC, sets), run)
    handed = workers.next()
    while handed is not None and handed["role"] != "search":
        workers.train(handed)
        handed = workers.next()
    assert handed is not None
    trial_id, study = handed["trial_id"], workers.search.work.studies[handed["cell"]]
    paused, curve = workers.search.work.paused, workers.run / "trials" / trial_id / "curve.jsonl"
    points = [(step, "objective", value) for step, value in ((1, -2.0), (2, -1.0), (3, -1.5))]
    points.append((4, TRAINING_OBJECTIVE, 0.5))
    for expected, last in ((False, (4, "objective", -0.5)), (True, (4, "objective", -1.25))):
        lines = [dict(zip(("step", "name", "value"), point, strict=True)) for point in (*points, last)]
        curve.write_text("".join(json.dumps(line) + "\n" for line in lines))
        standing = paused.standing(study, trial_id)
        assert (4 in standing.values, standing.ended) == (not expected, expected)
        assert paused.take(study, config_of(workers.run, trial_id)) is not expected
        paused.drop(config_of(workers.run, trial_id))
    # Once it has been scored, too.
    facts: dict[str, Any] = {"steps": 4, "objective": -1.25, "stop_reason": "its validations got no better"}
    write_record(
        run / "trials" / trial_id, Record(**config_of(run, trial_id).identity(), status="done", **facts)
    )
    standing = paused.standing(study, trial_id)
    assert (dict(standing.values), standing.ended) == ({}, True)
