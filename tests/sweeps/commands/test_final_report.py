"""A run whose report can't be written, or which an error ends, says that its trials are kept and what to type."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from sweeps import cli
from sweeps.execution import launch
from sweeps.runs.mirror import NoMirror
from tests.helpers.sweeps import write_spec
from trainables import results


@pytest.fixture
def spec(workdir: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    # As if all trials had been trained.
    monkeypatch.setattr(launch, "run", lambda plan, folder, *others: results.write_tables(folder))
    return write_spec(workdir / "given", tiny_model)


def run(spec: Path) -> Result:
    return CliRunner().invoke(cli.app, ["run", str(spec), "--output", "my runs"])


@pytest.mark.parametrize("error", [KeyError("quality"), OSError(28, "No space left on device")])
def test_a_report_that_cannot_be_written_costs_no_trial_and_what_writes_it_is_said(
    spec: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    pushed: list[bool] = []

    def write(*given: Any) -> Path:
        raise error

    monkeypatch.setattr("reports.write.write", write)
    monkeypatch.setattr(NoMirror, "push_all", lambda mirror: pushed.append(True))
    found = run(spec)
    (folder,) = (Path.cwd() / "my runs").iterdir()
    assert found.exit_code == 1
    assert (
        f"The report could not be written ({type(error).__name__}: {error}). All trials are" in found.stderr
    )
    assert f"`paretune report '{folder}'` writes it" in found.stderr
    assert "Traceback" not in found.stderr
    assert pushed == [True]  # a run at a URL gets its tables all the same


def test_a_damaged_table_is_said_of_the_report_that_cannot_be_written_from_it(
    spec: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def end(plan: Any, folder: Path, *others: Any) -> None:
        (folder / "trials.parquet").write_bytes(b"damaged")

    monkeypatch.setattr(launch, "run", end)
    found = run(spec)
    assert "The report could not be written (DamagedFile: " in found.stderr
    assert "Traceback" not in found.stderr


def test_an_error_that_ends_a_sweep_leaves_the_command_that_resumes_it(
    spec: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*given: Any) -> None:
        raise RuntimeError("a process of the cluster died")

    monkeypatch.setattr(launch, "run", fail)
    found = run(spec)
    assert isinstance(found.exception, RuntimeError)
    assert "All finished trials are kept. To resume: paretune run" in found.stderr
    assert "--resume" in found.stderr
