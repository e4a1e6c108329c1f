"""A trial without held-out rows trains, has no quality, and is a result like any other."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from reports.analysis.comparison import compare
from reports.analysis.recommendation.answer import answer
from reports.analysis.recommendation.best_trials import recommended_trials
from sweeps import cli
from tests.helpers.exports import export_successfully
from tests.helpers.trials import curve, make_config, run, write_rows
from trainables import results
from trainables.trial.config import TrialConfig


@pytest.fixture(scope="module")
def trial(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> tuple[TrialConfig, Path]:
    """The config of a trial that has run, and its run folder."""
    folder = tmp_path_factory.mktemp("nothing")
    config = make_config(tiny_model, write_rows(folder / "rows.jsonl"), eval_fraction=0, eval_steps=1)
    run(config, folder / "run")
    results.write_tables(folder / "run")
    return config, folder / "run"


def test_it_trains_and_has_neither_objective_nor_quality(trial: tuple[TrialConfig, Path]) -> None:
    config, folder = trial
    record = results.read_record(folder / "trials" / config.trial_id())
    assert record is not None
    assert (record.status, record.steps, record.test_rows) == ("done", 2, 0)
    assert (record.objective, record.quality, record.metrics) == (None, None, {})
    assert len(curve(config, folder)) == 2
    assert curve(config, folder, "objective") == []
    assert results.best([record]) == record


def test_it_is_exported_as_the_best_of_its_cell(trial: tuple[TrialConfig, Path], tmp_path: Path) -> None:
    config, folder = trial
    output = export_successfully(f"{folder}:{config.cell}", tmp_path / "out").output
    assert "built-in prompts" in output
    assert (tmp_path / "out" / "model.safetensors").exists()


def test_it_has_nothing_to_be_evaluated_on(trial: tuple[TrialConfig, Path]) -> None:
    config, folder = trial
    command = CliRunner().invoke(cli.app, ["evaluate", f"{folder}:{config.cell}"])
    assert command.exit_code == 2
    assert (
        "held out no rows (eval_fraction: 0); give the data to evaluate on: --data FILE or NAME"
        in command.stderr
    )


def test_its_run_stands_for_it_and_the_report_says_why_there_is_no_answer(
    trial: tuple[TrialConfig, Path],
) -> None:
    config, folder = trial
    assert [best.trial_id for best in recommended_trials(folder)] == [config.trial_id()]
    (group,) = compare([results.gather_run(folder)])
    assert answer(group).sentences == (
        "lora of sft of tiny on rows.jsonl trained to the end; no rows were held out (eval_fraction: 0), so no "
        "quality was measured.",
    )
