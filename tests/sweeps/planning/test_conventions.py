"""What a spec means where it leaves something open, and that a run of an earlier version goes on as it began."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sweeps.commands.run import Sweep
from sweeps.execution.run_folder import prepare
from sweeps.execution.run_options import RunOptions
from sweeps.planning.conventions import FIRST
from sweeps.planning.plan import Plan, make
from sweeps.spec.spec import as_begun, read
from tests.helpers.specs import SPEC, own_spec_folder, plan, problems


@pytest.fixture
def workdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return own_spec_folder(tmp_path, monkeypatch)


def resumed(workdir: Path) -> Sweep:
    options = RunOptions(str(workdir / "runs"), resume=True)
    return Sweep.plan_spec(read(workdir / "spec.yaml"), options, lambda *_: [])  # type: ignore[arg-type]


def splits(planned: Plan) -> set[str | None]:
    configs = [*(cell.first() for cell in planned.cells), *planned.bases]
    return {config.data.split_by for config in configs}


def test_a_new_run_keeps_rows_together_that_open_alike(workdir: Path) -> None:
    assert splits(plan(workdir)) == {"first_turn"}
    assert splits(plan(workdir, sets=("data.split_by=prompt",))) == {"prompt"}


def test_a_run_of_an_earlier_version_keeps_its_split_and_its_trials(workdir: Path) -> None:
    (workdir / "spec.yaml").write_text(SPEC)
    began = make(as_begun(read(workdir / "spec.yaml"), {"plan": {"finalists": {}}}), conventions=FIRST)
    run = workdir / "runs" / "tiny"
    prepare(began, run, resume=False)
    environment = json.loads((run / "environment.json").read_text())
    del environment["plan"]["conventions"]  # earlier versions wrote none
    (run / "environment.json").write_text(json.dumps(environment))
    for _ in range(2):  # the second session reads what the first one has written
        sweep = resumed(workdir)
        prepare(sweep.plan, sweep.location.folder, resume=True)
        assert splits(sweep.plan) == {None}
        assert [cell.first().trial_id() for cell in sweep.plan.cells] == [
            cell.first().trial_id() for cell in began.cells
        ]


def test_a_run_of_this_version_is_resumed_with_its_own_conventions(workdir: Path) -> None:
    prepare(plan(workdir), workdir / "runs" / "tiny", resume=False)
    assert splits(resumed(workdir).plan) == {"first_turn"}


def test_plan_warns_of_test_rows_that_are_trained_on(workdir: Path) -> None:
    turns = [
        {"messages": [{"role": "user", "content": f"open {n}"}, {"role": "assistant", "content": "ok"},
                      {"role": "user", "content": "the end"}, {"role": "assistant", "content": "done"}]}
        for n in range(60)
    ]  # fmt: skip
    (workdir / "rows.jsonl").write_text("\n".join(map(json.dumps, turns)))
    (warning,) = [each for each in problems(workdir, SPEC) if "stands in a training row" in each]
    assert warning.startswith("spec.yaml:3 data.train: ")
    assert "of them with the same answer (rows.jsonl:" in warning


def test_the_group_of_a_spec_is_looked_for_in_its_file(workdir: Path) -> None:
    (error,) = problems(workdir, SPEC, "data.group=doc")
    assert error == "--set data.group: no file has a column doc; there are completion, prompt"


@pytest.mark.parametrize("scheduler", ["none", "asha"])
def test_a_run_of_an_earlier_version_is_not_warned_of_settings_that_nobody_wrote(
    workdir: Path, scheduler: str
) -> None:
    (workdir / "spec.yaml").write_text(SPEC)
    spec = read(workdir / "spec.yaml", (f"search.scheduler={scheduler}",))
    planned = make(as_begun(spec, {"plan": {}}), conventions=FIRST)
    assert not [problem for problem in planned.problems if "has no effect" in problem.what]
