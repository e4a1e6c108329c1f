"""The search learns nothing of the test rows: two sweeps whose test rows alone differ."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.sweep_runs import Sweep, study
from tests.helpers.sweeps import METHODS, SAVED_EVERY, SPEC, STEPS, records
from trainables import results
from trainables.config.data import DataConfig
from trainables.data import loading
from trainables.data.embedded import commands

pytestmark = [pytest.mark.sweep, pytest.mark.timeout(1200)]

PEEKING = (
    SPEC.replace("sampler: random, scheduler: none", "sampler: tpe, scheduler: asha, grace_steps: 2")
    .replace("trials: 3", "trials: 3, reduction_factor: 2")
    .replace("trials: 3", "trials: 8")
    .replace(f"steps: {STEPS}", "steps: 16")
    .replace(f"save_steps: {SAVED_EVERY}, ", "")
    .replace("concurrent: 2", "concurrent: 1")
    .replace(METHODS, "methods: [{kind: lora, rank: {choice: [4, 8, 16]}, alpha: {choice: [8, 32]}}]\n")
    .replace("[1.0e-4, 5.0e-3]", "[1.0e-4, 5.0e-1]")
)


def with_other_test_answers(rows: list[dict[str, str]], folder: Path) -> list[dict[str, str]]:
    """The rows, but with the answers of the test half all one."""
    file = folder / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    cut = loading.load(DataConfig(train=str(file), eval_fraction=0.3))
    hidden = {row.prompt[-1]["content"] for row in cut.test}
    assert len(cut.train) > 20
    assert min(len(cut.validation), len(hidden)) > 2
    return [row | {"completion": "nothing of the sort"} if row["prompt"] in hidden else row for row in rows]


@pytest.fixture(scope="module")
def peeking(new: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Sweep, Sweep]:
    rows = commands.rows()[:60]
    others = with_other_test_answers(rows, tmp_path_factory.mktemp("others"))
    sweeps = new(PEEKING, rows), new(PEEKING, others)
    for sweep in sweeps:  # at the same time
        sweep.start()
    for sweep in sweeps:
        assert sweep.command.wait(400) == 0, sweep.command.stderr
    return sweeps


def proposals(sweep: Sweep) -> list[tuple[Any, ...]]:
    """What was proposed, and what the search learned from it, in the order of the study."""
    found = records(sweep.run)
    trials = study(sweep.run, "sft-lora").trials
    ids = [trial.user_attrs["trial_id"] for trial in trials]
    return [
        (
            sorted(trial.params.items()),
            trial.state.name,
            trial.intermediate_values,
            found[id].status,
            found[id].steps,
            found[id].objective,
        )
        for trial, id in zip(trials, ids, strict=True)
    ]


def test_the_test_rows_change_no_proposal_and_no_stop(peeking: tuple[Sweep, Sweep]) -> None:
    one, other = map(proposals, peeking)
    assert one == other
    assert len(one) == 8
    assert {status for _, _, _, status, _, _ in one} == {"done", "stopped"}


def test_the_test_rows_change_the_quality(peeking: tuple[Sweep, Sweep]) -> None:
    one, other = ([row["quality"] for row in sweep.rows()] for sweep in peeking)
    assert all(not math.isclose(a, b) for a, b in zip(one, other, strict=True))


def test_a_stopped_trial_is_pruned_in_its_study_and_scored_where_it_stopped(
    peeking: tuple[Sweep, Sweep],
) -> None:
    found = records(peeking[0].run)
    for trial in study(peeking[0].run, "sft-lora").trials:
        record = found[trial.user_attrs["trial_id"]]
        assert (trial.state.name, record.status) in (("COMPLETE", "done"), ("PRUNED", "stopped"))
        assert trial.value == record.objective
        assert record.quality is not None
        assert record.steps == (16 if record.status == "done" else max(trial.intermediate_values))
        assert set(trial.intermediate_values) <= {2, 4, 8, 16}


def test_a_sweep_whose_trials_stopped_has_done_all_that_was_asked(peeking: tuple[Sweep, Sweep]) -> None:
    run = results.read_run(peeking[0].run)
    assert len(run.records) == 9
    done = [r for r in run.records if r.status == "done" and r.role == "search"]
    assert 1 <= len(done) < 8
