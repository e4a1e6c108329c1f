"""The report counts trials as ``plan`` does: those of the search and the finalists, whatever became of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from reports.pages.report import build_report
from reports.pages.tables import comparison
from reports.pages.trial_tables import trials
from sweeps.console.trial_counts import trial_counts
from sweeps.planning.plan import Plan
from tests.helpers.run_folders import failed, record, write_run
from tests.helpers.specs import plan, spec_folder
from trainables import results
from trainables.results import Record


def carried_out(planned: Plan) -> Iterator[Record]:
    """The records that a run of a plan leaves: of its search one trial failed, and one was stopped early."""
    yield record("base", "base", quality=0.1)
    for cell in planned.cells:
        for number in range(cell.trials):
            name = f"{cell.name}-{number}"
            if number == 1:
                yield failed(name, cell.method, cell=cell.name)
            else:
                status = "stopped" if number == 2 else "done"
                yield record(name, cell.method, cell=cell.name, status=status, objective=0.9 - number / 10)
        for seed in range(1, planned.spec.finalists.seeds + 1):
            yield record(f"{cell.name}-f{seed}", cell.method, cell=cell.name, role="finalist", seed=seed)


def test_the_report_counts_trials_as_plan_does(tmp_path: Path) -> None:
    planned = plan(spec_folder(tmp_path), sets=("finalists.seeds=2",))
    run = results.read_run(write_run(tmp_path / "run", list(carried_out(planned))))
    report = build_report([run])
    counts = trial_counts(planned)
    assert counts.startswith("10 trials in 2 cells (6 of the search, then 4 finalists)")
    assert counts.startswith(report.facts)
    (group,) = report.groups
    cells = {row[0]: row[-1] for row in comparison(group).rows}
    assert cells["lora"] == "1 done, 1 stopped early, 1 failed, 2 finalists"
    # Beside the trials the untuned model has its row.
    assert len(trials(group).rows) == planned.trials + planned.finalists + len(planned.bases)
    statuses = [row[2] for row in trials(group).rows]
    assert statuses.count("done, finalist (seed 1)") == 2
