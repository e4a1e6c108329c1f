"""A sweep on real Ray, through the command line, that nothing disturbs: what it prints, writes and leaves."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from tests.helpers.sweep_runs import Sweep, study
from tests.helpers.sweeps import SAVED_EVERY, SPEC, STEPS, curve_points, finished, records, wandb_runs
from trainables import results
from trainables.config.data import DataConfig
from trainables.data import loading

pytestmark = [pytest.mark.sweep, pytest.mark.timeout(1200)]

CELLS = ("sft-full", "sft-lora")
BASE = "sft-base"
SAVES = range(SAVED_EVERY, STEPS + 1, SAVED_EVERY)
# The columns that every table of trials has; tools of other people read them.
COLUMNS = [
    "trial_id",
    "cell",
    "stage",
    "method",
    "model",
    "data",
    "seed",
    "config",
    "status",
    "error",
    "objective",
    "quality",
    "quality_name",
    "quality_higher_is_better",
    "metrics",
    "baseline_bytes",
    "weight_bytes",
    "gradient_bytes",
    "optimizer_bytes",
    "peak_load_bytes",
    "peak_train_bytes",
    "peak_eval_bytes",
    "predicted_peak_bytes",
    "memory_source",
    "trainable_params",
    "total_params",
    "artifact_bytes",
    "tokens",
    "steps",
    "tokens_per_second",
    "setup_seconds",
    "train_seconds",
    "eval_seconds",
    "device",
    "host",
    "role",
    "slot",
    "slot_trial",
    "started_at",
    "ended_at",
    "packages",
]


@pytest.fixture(scope="module")
def undisturbed(new: Any) -> Sweep:
    sweep = new(SPEC.replace("wandb: off", "wandb: offline"))
    before = {path: path.read_bytes() for path in sweep.spec.parent.iterdir()}
    command = sweep.carry_out()
    assert command.process.returncode == 0, command.stderr
    assert {path: path.read_bytes() for path in sweep.spec.parent.iterdir()} == before
    return sweep


def test_the_reports_path_is_all_that_is_printed_and_it_is_there(undisturbed: Sweep) -> None:
    assert undisturbed.command.stdout == f"{undisturbed.run}/report/index.html\n"
    assert Path(undisturbed.command.stdout.strip()).exists()


def test_every_event_is_a_line_and_the_same_lines_are_in_the_log(undisturbed: Sweep) -> None:
    printed = undisturbed.command.stderr
    assert "\x1b" not in printed
    assert "6 trials in 2 cells, and 1 starting model to score without training; " in printed
    assert "(6 of 6" in printed
    for trial_id in finished(undisturbed.run):
        assert printed.count(f" {trial_id} done: ") == 1
    noise = [line for line in printed.splitlines() if line[:8].count(":") != 2]
    # The plan's warnings, of rows that are longer than the cutoff and of few that are held out.
    settings = [line.removeprefix(f"warning: {undisturbed.spec}:4 ").partition(": ")[0] for line in noise]
    assert settings == ["data.train", "data.eval_fraction"]
    log = (undisturbed.run / "sweep.log").read_text()
    assert all(line in log for line in printed.splitlines() if " done: " in line)


def test_the_run_folder_holds_what_the_contract_names_and_nothing_else(undisturbed: Sweep) -> None:
    visible = {path.name for path in undisturbed.run.iterdir() if not path.name.startswith(".")}
    contract = {"spec.yaml", "resolved.yaml", "environment.json", "sweep.log", "trials", "trials.parquet"}
    contract |= {"data.json", "curves.parquet", "report", *(f"study-{cell}.journal" for cell in CELLS)}
    assert contract <= visible
    assert visible - contract <= {"memory", "wandb"}
    report = {path.name for path in (undisturbed.run / "report").iterdir()}
    assert {"index.html", "summary.md", "comparison.csv", "figures"} <= report
    figures = {path.suffix for path in (undisturbed.run / "report" / "figures").iterdir()}
    assert figures == {".png", ".svg"}
    assert not list(undisturbed.run.rglob("*.tmp"))


def test_nothing_is_written_outside_the_run_folder(undisturbed: Sweep) -> None:
    home = undisturbed.home.folder
    assert list((home / "home").rglob("*")) == []
    assert {path.name for path in (home / "cache").iterdir()} <= {
        ".predicted.lock",
        ".speeds.lock",
        "speeds.json",
        "model-classes",
        "tokenizers",
        "behaviour",
        "generation",
        "data",
        "fingerprints.json",
        "predicted.json",
        "matplotlib",
        "overlaps",
        "tokens",
        "vocabularies",
    }
    outside = {path.name for path in home.iterdir()}
    assert outside == {"given", "home", "cache", "runs", "out-0", "err-0"}
    assert {path.name for path in (home / "runs").iterdir()} == {"tiny"}
    assert list(undisturbed.home.temporary.iterdir()) == []
    assert not (undisturbed.run / ".ray").exists()


def test_the_run_says_what_it_was_made_from(undisturbed: Sweep) -> None:
    assert (undisturbed.run / "spec.yaml").read_bytes() == undisturbed.spec.read_bytes()
    resolved = yaml.safe_load((undisturbed.run / "resolved.yaml").read_text())
    assert resolved["search"]["trials"] == 3
    assert resolved["train"]["weight_decay"] == 0  # a default, written out
    environment = json.loads((undisturbed.run / "environment.json").read_text())
    assert environment["seconds"] > 1
    assert {"command", "packages", "commit", "python"} <= environment.keys()
    (seen,) = results.read_run(undisturbed.run).data
    assert (seen["stage"], seen["data"], len(seen["examples"])) == ("sft", "rows.jsonl", 3)
    assert sum(seen["rows"].values()) == 60
    assert "What the models saw" in (undisturbed.run / "report" / "summary.md").read_text()


def test_every_trial_leaves_its_files(undisturbed: Sweep) -> None:
    for trial_id, record in finished(undisturbed.run).items():
        names = {path.name for path in (undisturbed.run / "trials" / trial_id).iterdir()}
        always = {"config.json", "record.json", "predictions.parquet"}
        trained = {"curve.jsonl", "model", *(f"checkpoint-{step}" for step in SAVES)}
        assert names == (always if record.role == "base" else always | trained)


def test_predictions_are_one_row_per_test_row(undisturbed: Sweep) -> None:
    for trial_id, record in finished(undisturbed.run).items():
        table = pq.read_table(undisturbed.run / "trials" / trial_id / "predictions.parquet")
        assert table.column_names[:5] == ["row", "prompt", "reference", "prediction", "score"]
        assert table.num_rows == record.test_rows
        assert json.loads(table["prompt"][0].as_py())[-1]["role"] == "user"


def test_every_cell_has_its_budget_and_the_base_model_its_row(undisturbed: Sweep) -> None:
    rows = undisturbed.rows()
    assert sorted(row["cell"] for row in rows) == sorted([BASE, *CELLS * 3])
    assert {row["status"] for row in rows} == {"done"}
    assert all(row["steps"] == STEPS for row in rows if row["role"] == "search")
    assert len({row["trial_id"] for row in rows}) == 7
    (base,) = (row for row in rows if row["cell"] == BASE)
    assert (base["role"], base["method"]) == ("base", "base")
    assert base["quality"] is not None
    untrained = ("steps", "tokens", "train_seconds", "setup_seconds", "trainable_params", "artifact_bytes")
    assert all(base[name] is None for name in untrained)


def test_a_row_has_every_column_of_the_contract(undisturbed: Sweep) -> None:
    rows = undisturbed.rows()
    assert set(COLUMNS) <= rows[0].keys()
    never = {"error"}  # nothing failed
    for row in rows:
        if row["role"] == "search":
            assert [name for name in COLUMNS if row[name] is None and name not in never] == []
        assert isinstance(json.loads(row["config"]), dict)
        assert "torch" in json.loads(row["packages"])


def test_curves_are_a_table_of_points(undisturbed: Sweep) -> None:
    curves = pq.read_table(undisturbed.run / "curves.parquet").to_pylist()
    assert set(curves[0]) == {"trial_id", "step", "name", "value"}
    trained = {row["trial_id"] for row in undisturbed.rows() if row["role"] == "search"}
    losses = [(p["trial_id"], p["step"]) for p in curves if p["name"] == "train_loss"]
    assert sorted(losses) == sorted((trial_id, step) for trial_id in trained for step in range(1, STEPS + 1))
    assert {p["trial_id"] for p in curves if p["name"] == "objective"} == trained


def test_a_slots_later_trials_start_within_two_seconds(undisturbed: Sweep) -> None:
    rows = [row for row in undisturbed.rows() if row["role"] == "search"]
    assert {row["slot"] for row in rows} == {row["slot"] for row in undisturbed.rows()}
    assert len({row["slot"] for row in rows}) <= 2
    warm = [row["setup_seconds"] for row in rows if row["slot_trial"] >= 1]
    assert len(warm) >= 4
    assert statistics.median(warm) <= 2.0


def test_a_slot_counts_its_trials(undisturbed: Sweep) -> None:
    slots: dict[str, list[int]] = {}
    for row in sorted(undisturbed.rows(), key=lambda row: row["started_at"]):
        slots.setdefault(row["slot"], []).append(row["slot_trial"])
    assert all(numbers == list(range(len(numbers))) for numbers in slots.values())


def test_a_cells_study_is_readable_with_optuna_and_agrees_with_the_records(undisturbed: Sweep) -> None:
    leaves = {"sft-full": {"train.learning_rate"}, "sft-lora": {"train.learning_rate", "method.rank"}}
    found = records(undisturbed.run)
    for cell in CELLS:
        trials = study(undisturbed.run, cell).trials
        assert [trial.state.name for trial in trials] == ["COMPLETE"] * 3
        for trial in trials:
            assert set(trial.params) == leaves[cell]
            record = found[trial.user_attrs["trial_id"]]
            assert record.cell == cell
            assert trial.value == record.objective
            assert trial.params["train.learning_rate"] == record.config["train"]["learning_rate"]


def test_no_process_is_left_once_the_command_has_ended(undisturbed: Sweep) -> None:
    assert undisturbed.command.surviving() == []
    assert len(undisturbed.command.family) > 10  # it was watched


def test_search_rows_have_seen_no_test_row(undisturbed: Sweep) -> None:
    ((trial_id, record), *_) = finished(undisturbed.run).items()
    test = loading.load(DataConfig.model_validate(record.config["data"])).test
    table = pq.read_table(undisturbed.run / "trials" / trial_id / "predictions.parquet")
    assert sorted(table["reference"].to_pylist()) == sorted(row.answer for row in test)


# What W&B received


def test_every_trial_is_one_wandb_run_of_its_own(undisturbed: Sweep) -> None:
    found = wandb_runs(undisturbed.run)
    assert undisturbed.command.stderr.count("W&B") == 1  # offline: one line, and no warning
    assert {run.group for run in found.values()} == {"tiny"}
    assert {run.project for run in found.values()} == {"paretune"}
    trials = {key.partition("-")[2]: run for key, run in found.items() if not key.endswith("summary")}
    assert trials.keys() == finished(undisturbed.run).keys()
    for trial_id, record in finished(undisturbed.run).items():
        reported = trials[trial_id]
        assert reported.job_type == record.cell
        assert reported.config.items() >= record.config.items()
        assert reported.exit_code == 0
        assert reported.summary["quality"] == record.quality
        assert reported.summary["peak_load_bytes"] == record.peak_load_bytes
        if record.role == "search":
            assert reported.summary["peak_train_bytes"] == record.peak_train_bytes
            for name in ("train_loss", "objective"):
                steps = {step: values[name] for step, values in reported.history.items() if name in values}
                assert steps == dict(curve_points(undisturbed.run, trial_id, name))


def test_one_wandb_run_holds_the_comparison_the_front_and_the_records(undisturbed: Sweep) -> None:
    (summary,) = (run for run in wandb_runs(undisturbed.run).values() if run.job_type == "summary")
    assert (summary.group, summary.exit_code) == ("tiny", 0)
    history = {key: value for values in summary.history.values() for key, value in values.items()}
    assert history["comparison._type"] == "table-file"
    assert history["comparison.nrows"] == 3
    assert history["pareto._type"] == "image-file"
    assert sorted(
        next(names for artifact, names in summary.artifacts.items() if artifact.endswith("-records"))
    ) == ["curves.parquet", "trials.parquet"]
    (folder,) = (undisturbed.run / "wandb").glob("offline-run-*-summary/files")
    assert (folder / history["pareto.path"]).read_bytes().startswith(b"\x89PNG")
