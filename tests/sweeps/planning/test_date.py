"""A chat template that writes today's date writes that of the run's first start, also when the run is resumed."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from sweeps.commands.run import Sweep
from sweeps.execution.run_folder import prepare
from sweeps.execution.run_options import RunOptions
from sweeps.planning.plan import Plan
from sweeps.spec.spec import read
from tests.helpers.specs import SPEC, own_spec_folder, plan

FIRST = "2024-02-29"


@pytest.fixture
def workdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    own_spec_folder(tmp_path, monkeypatch)
    (tmp_path / "model" / "chat_template.jinja").write_text("{{ strftime_now('%Y') }}{{ messages }}")
    return tmp_path


def dates(planned: Plan) -> set[str | None]:
    return {cell.first().data.date for cell in planned.cells} | {base.data.date for base in planned.bases}


def test_a_resumed_run_writes_the_date_of_its_first_start(workdir: Path) -> None:
    began = plan(workdir, date=FIRST)
    assert dates(began) == {FIRST}
    prepare(began, workdir / "runs" / "tiny", resume=False)
    options = RunOptions(str(workdir / "runs"), resume=True)
    for _ in range(2):  # the second session reads what the first one has written
        sweep = Sweep.plan_spec(read(workdir / "spec.yaml"), options, lambda *_: [])  # type: ignore[arg-type]
        prepare(sweep.plan, sweep.location.folder, resume=True)
        assert dates(sweep.plan) == {FIRST}


def test_a_new_run_begins_today_unless_the_spec_gives_a_date(workdir: Path) -> None:
    assert dates(plan(workdir)) == {date.today().isoformat()}
    given = SPEC.replace("rows.jsonl,", "rows.jsonl, date: 2025-12-24,")
    assert dates(plan(workdir, given)) == {"2025-12-24"}
    named = SPEC.replace("rows.jsonl,", "rows.jsonl, template: chatml,")
    assert dates(plan(workdir, named)) == {None}
    broken = plan(workdir, SPEC.replace("rows.jsonl,", "rows.jsonl, date: tomorrow,"))
    assert "write it as 2026-11-28" in broken.errors[0].what
