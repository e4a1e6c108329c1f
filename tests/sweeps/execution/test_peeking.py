"""The search learns nothing of the test rows: a sweep, and the same search on data whose test rows alone differ.

The second one runs in this process: another Ray would show no more, and takes a minute of two cores.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import pytest
from ray.tune.schedulers import TrialScheduler

from sweeps.planning.plan import make
from sweeps.search.asha import CellAsha
from sweeps.search.study import CellStudy
from sweeps.spec.spec import read
from tests.helpers.sweep_runs import Sweep, study
from tests.helpers.sweeps import METHODS, SAVED_EVERY, SPEC, STEPS, records
from trainables import results
from trainables.data import loading
from trainables.data.embedded import commands
from trainables.results import Record
from trainables.runner.run import TrialContext, run_trial
from trainables.training.training_callback import NoControl

pytestmark = [pytest.mark.sweep, pytest.mark.timeout(1200)]

PEEKING = (
    SPEC.replace(
        "sampler: random, scheduler: none",
        "sampler: tpe, scheduler: asha, order: depth, rungs_by: validation, score_stopped: true, early_exit: [], "
        "grace_steps: 2",
    )
    .replace("trials: 3", "trials: 3, reduction_factor: 2")
    .replace("trials: 3", "trials: 8")
    .replace(f"steps: {STEPS}", "steps: 16")
    .replace(f"save_steps: {SAVED_EVERY}, ", "")
    .replace("concurrent: 2", "concurrent: 1")
    .replace("cutoff: 64", "cutoff: 64, quality: loss")  # no answer of so short a training is right
    .replace(METHODS, "methods: [{kind: lora, rank: {choice: [4, 8, 16]}, alpha: {choice: [8, 32]}}]\n")
    .replace("[1.0e-4, 5.0e-3]", "[1.0e-4, 5.0e-1]")
)


def with_other_test_answers(rows: list[dict[str, str]], spec: Path) -> list[dict[str, str]]:
    """The rows of a spec, but with the answers of its test half all one."""
    (cell,) = make(read(str(spec))).cells
    cut = loading.load(cell.first().data)
    hidden = {row.prompt[-1]["content"] for row in cut.test}
    assert len(cut.train) > 20
    assert min(len(cut.validation), len(hidden)) > 2
    return [row | {"completion": "nothing of the sort"} if row["prompt"] in hidden else row for row in rows]


@dataclass
class Search:
    """A search that has ended: its study, and the records of its trials."""

    study: optuna.Study
    records: dict[str, Record]

    def proposals(self) -> list[tuple[Any, ...]]:
        """What was proposed, and what the search learned from it, in the order of the study."""
        found = [(trial, self.records[trial.user_attrs["trial_id"]]) for trial in self.study.trials]
        return [
            (
                sorted(trial.params.items()),
                trial.state.name,
                trial.intermediate_values,
                record.status,
                record.steps,
                record.objective,
            )
            for trial, record in found
        ]

    def qualities(self) -> list[float | None]:
        return [self.records[trial.user_attrs["trial_id"]].quality for trial in self.study.trials]


@dataclass
class Halved(NoControl):
    """Stops a trial where the scheduler of its cell would, and keeps what was reported for its study."""

    scheduler: Any
    trial_id: str
    steps: int
    reported: dict[int, float] = field(default_factory=dict)

    def report(self, step: int, values: dict[str, float]) -> Any:
        if step == self.steps:
            return "continue"  # the last result ends the trial
        self.reported[step] = values["objective"]
        result = {"step": step, "objective": values["objective"]}
        verdict = self.scheduler.on_trial_result(None, SimpleNamespace(trial_id=self.trial_id), result)
        return "stop" if verdict == TrialScheduler.STOP else "continue"


def searched_here(spec: Path, folder: Path) -> Search:
    """The search of a spec with one cell, one trial after the other, in this process."""
    plan = make(read(str(spec)))
    (cell,) = plan.cells
    fresh, scheduler = CellStudy(folder, cell), CellAsha(plan, folder, "board").halvings[cell.name]
    found = {}
    while (config := fresh.ask()) is not None:
        trial_id = config.trial_id()
        scheduler.on_trial_add(None, SimpleNamespace(trial_id=trial_id))
        control = Halved(scheduler, trial_id, cell.steps)
        record = run_trial(config, TrialContext(folder), control, evaluate_at=frozenset(cell.rungs))
        for step, objective in control.reported.items():
            fresh.report(trial_id, step, objective)
        fresh.tell(trial_id, record.status, record.objective)
        found[trial_id] = record
    return Search(fresh.study, found)


@pytest.fixture(scope="module")
def sweep(new: Any) -> Sweep:
    made = new(PEEKING, commands.rows()[:60])
    assert made.carry_out().process.returncode == 0, made.command.stderr
    return made


@pytest.fixture(scope="module")
def peeking(sweep: Sweep, new: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Search, Search]:
    folder = tmp_path_factory.mktemp("others")
    others = new(PEEKING, with_other_test_answers(commands.rows()[:60], sweep.spec))
    return Search(study(sweep.run, "sft-lora"), records(sweep.run)), searched_here(others.spec, folder)


def test_the_test_rows_change_no_proposal_and_no_stop(peeking: tuple[Search, Search]) -> None:
    one, other = (search.proposals() for search in peeking)
    assert one == other
    assert len(one) == 8
    assert {status for _, _, _, status, _, _ in one} == {"done", "stopped"}


def test_the_test_rows_change_the_quality(peeking: tuple[Search, Search]) -> None:
    one, other = (search.qualities() for search in peeking)
    assert all(not math.isclose(a, b) for a, b in zip(one, other, strict=True))


def test_a_stopped_trial_is_pruned_in_its_study_and_scored_where_it_stopped(
    peeking: tuple[Search, Search],
) -> None:
    for trial in peeking[0].study.trials:
        record = peeking[0].records[trial.user_attrs["trial_id"]]
        assert (trial.state.name, record.status) in (("COMPLETE", "done"), ("PRUNED", "stopped"))
        assert trial.value == record.objective
        assert record.quality is not None
        assert record.steps == (16 if record.status == "done" else max(trial.intermediate_values))
        assert set(trial.intermediate_values) <= {2, 4, 8, 16}


def test_a_sweep_whose_trials_stopped_has_done_all_that_was_asked(sweep: Sweep) -> None:
    run = results.read_run(sweep.run)
    assert len(run.records) == 9
    done = [r for r in run.records if r.status == "done" and r.role == "search"]
    assert 1 <= len(done) < 8
