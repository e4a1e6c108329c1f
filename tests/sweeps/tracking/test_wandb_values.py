"""The values of W&B's runs: what W&B's panels, filters and tables know of a trial."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from sweeps.tracking.base import FollowedRun, FollowedTrial
from sweeps.tracking.wandb_content import sweep_report, tables, trial_values
from sweeps.tracking.wandb_content.artifacts import Models, artifact_name
from sweeps.tracking.wandb_content.sweep_report import Place
from tests.helpers import run_folders
from trainables import results
from trainables.results import Record
from trainables.storage import files
from trainables.storage.damaged_files import DamagedFile

GIB = 1024**3
CONFIG = {
    "cell": "sft-lora",
    "method_name": "lora",
    "role": "search",
    "stage": {"kind": "sft"},
    "method": {"kind": "lora", "rank": 8},
    "model": {"name": "smollm2-135m"},
    "data": {"train": "rows/my.jsonl"},
    "train": {"learning_rate": 1e-3, "steps": 100},
}


@pytest.fixture
def trial(tmp_path: Path) -> FollowedTrial:
    environment = {
        "name": "methods",
        "question": "Which?",
        "command": "paretune run methods",
        "wandb_id": "a1b2c3",
        "rungs": {"sft-lora": [4, 12, 36]},
    }
    files.write_json(tmp_path / "environment.json", environment)
    folder = tmp_path / "trials" / "abc"
    files.write_json(folder / "config.json", CONFIG)
    return FollowedTrial.read(FollowedRun.read(tmp_path), folder)


def test_the_names_of_a_trial_stand_beside_its_settings(trial: FollowedTrial) -> None:
    config = trial_values.config(trial)
    assert config["method"] == {"kind": "lora", "rank": 8}  # W&B's `method.rank`
    assert {name: config[name] for name in config.keys() - CONFIG.keys()} == {
        "sweep_id": "methods-a1b2c3",
        "run": "methods",
        "stage_name": "sft",
        "model_name": "smollm2-135m",
        "data_name": "my.jsonl",
    }
    assert not [name for name in config if "." in name]  # which W&B can neither filter nor group by


def test_settings_of_another_version_leave_names_to_the_record(trial: FollowedTrial) -> None:
    files.write_json(
        trial.folder / "config.json", {**CONFIG, "model": {"of_another_version": 1}, "data": None}
    )
    config = trial_values.config(FollowedTrial.read(trial.run, trial.folder))
    assert "model_name" not in config
    assert trial_values.names_of(run_folders.record("abc"))["model_name"] == "smollm2-135m"


def test_tags_that_the_user_asks_for_precede_those_of_the_trial(trial: FollowedTrial) -> None:
    config = {**trial_values.config(trial), "model_name": "m" * 70}
    tags = trial_values.tags(config, {"WANDB_TAGS": "mine, sft,"})
    assert tags == ["mine", "sft", "methods", "lora", "m" * 64, "my.jsonl"]


def test_notes_have_the_question_and_the_command_but_no_secret(
    trial: FollowedTrial, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert trial_values.notes(trial.run, {}) == "Which?\n\nparetune run methods"
    monkeypatch.setenv("HF_TOKEN", "hf_0123456789abcdef")
    run = FollowedRun(trial.run.folder, {"command": "HF_TOKEN=hf_0123456789abcdef paretune run"})
    assert trial_values.notes(run, {"WANDB_NOTES": "A note."}) == "A note.\n\nHF_TOKEN=*** paretune run"


def test_the_summary_has_peaks_in_gib_the_interval_and_the_error_of_the_prediction(
    trial: FollowedTrial,
) -> None:
    record = run_folders.record(
        "abc",
        peak_load_bytes=GIB,
        peak_train_bytes=4 * GIB,
        predicted_peak_bytes=3 * GIB,
        metrics={"rouge": 0.5},
    )
    summary = trial_values.summary(trial, record)
    assert (summary["peak_gib"], summary["peak_load_gib"], summary["predicted_peak_gib"]) == (4, 1, 3)
    assert summary["predicted_peak_error"] == -0.25
    assert summary["quality"] == 0.9
    assert summary["quality_low"] == pytest.approx(0.834, abs=1e-3)
    assert summary["quality_high"] == pytest.approx(0.939, abs=2e-3)
    assert summary["test/rouge"] == 0.5
    assert summary["status"] == "done"
    assert not summary.keys() & {"ending", "stopped_at_step", "objective", "config", "peak_eval_gib"}


@pytest.mark.parametrize(("steps", "rung"), [(4, 1), (36, 3), (37, None)])
def test_a_stopped_trial_says_at_which_rung_and_why(
    trial: FollowedTrial, steps: int, rung: int | None
) -> None:
    record = run_folders.record("abc", status="stopped", steps=steps)
    summary = trial_values.summary(trial, record)
    assert (summary["stopped_at_step"], summary.get("stopped_at_rung")) == (steps, rung)
    assert "behind" in summary["ending"]


def test_a_run_of_an_earlier_version_has_no_rungs(trial: FollowedTrial) -> None:
    del trial.run.environment["rungs"]
    record = run_folders.record("abc", status="stopped", steps=4)
    assert "stopped_at_rung" not in trial_values.summary(trial, record)


def test_answers_are_no_formulas_and_not_endless(trial: FollowedTrial) -> None:
    run_folders.write_scores(trial.run.folder, "abc", [1.0, 0.0], prediction=["=1+1", None])
    (row,) = tables.answers(trial.folder)
    assert row == {"row": 0, "prompt": "", "reference": "on", "answer": "'=1+1", "score": 1.0}
    run_folders.write_scores(trial.run.folder, "abc", [1.0] * 30, prediction=["x" * 5000] * 30)
    rows = list(tables.answers(trial.folder))
    assert len(rows) == tables.MAX_ANSWERS
    assert len(rows[0]["answer"]) < 2100


def test_a_table_has_the_columns_of_all_its_rows() -> None:
    table = tables.table([{"a": 1, "b": "x"}, {"a": None, "c": 2.5}])
    assert table.columns == ["a", "b", "c"]
    assert table.data == [[1, "x", None], [None, None, 2.5]]


def test_failures_have_their_reason(tmp_path: Path) -> None:
    records = [run_folders.record("a"), run_folders.failed("b", error="Out of luck.", steps=3)]
    (row,) = tables.failures(results.read_run(run_folders.write_run(tmp_path / "run", records)))
    assert row == {"trial": "b", "cell": "sft-lora", "status": "failed", "steps": 3, "reason": "Out of luck."}


@pytest.mark.parametrize("name", ["my run", "a/b:c", "日本", "x" * 200])
def test_an_artifact_has_a_name_that_wandb_takes(name: str) -> None:
    from wandb import Artifact

    found = artifact_name(name, "records")
    assert Artifact(found, type="records").name == found
    assert found.endswith("-records")


def test_a_model_with_a_link_or_a_pipe_in_it_is_not_sent(trial: FollowedTrial, tmp_path: Path) -> None:
    record = run_folders.record("abc")
    results.write_record(trial.folder, record)
    files.write_text(tmp_path / "private" / "key", "secret")
    files.write_text(trial.folder / "model" / "config.json", "{}")
    for name in ("key", "folder/key"):
        link = trial.folder / "model" / name
        link.parent.mkdir(exist_ok=True)
        link.symlink_to(tmp_path / "private" / "key")
        with pytest.raises(DamagedFile, match=f"model/{name} is a link"):
            Models("all", tmp_path, "").log(None, trial, record)
        link.unlink()
    os.mkfifo(trial.folder / "model" / "pipe")
    with pytest.raises(DamagedFile, match=r"model/pipe is a link, a pipe"):
        Models("all", tmp_path, "").log(None, trial, record)


@pytest.mark.parametrize(
    ("known", "is_own"),
    [({}, True), ({"entity": "other"}, False), ({"project": "other"}, False), ({"sweep": "theirs-1"}, False)],
)
def test_a_report_is_a_sweeps_own_where_its_panels_show_the_sweep(
    trial: FollowedTrial, monkeypatch: pytest.MonkeyPatch, known: dict[str, str], is_own: bool
) -> None:
    import wandb_workspaces._graphql

    condition = {
        "key": {"section": "config", "name": "sweep_id"},
        "value": known.get("sweep", "methods-a1b2c3"),
    }
    grid = {"type": "panel-grid", "metadata": {"runSets": [{"filters": {"filters": [condition]}}]}}
    project = {"name": known.get("project", "ours"), "entityName": known.get("entity", "team")}
    view = {"project": project, "displayName": "methods", "spec": json.dumps({"blocks": [grid]})}
    monkeypatch.setattr("wandb.Api", lambda: None)
    monkeypatch.setattr(wandb_workspaces._graphql, "execute_graphql", lambda *_: {"view": view})
    assert sweep_report._is_own("id", Place("team", "ours"), trial.run) is is_own


def test_the_best_model_of_each_cell_is_sent_or_all_or_none(tmp_path: Path) -> None:
    found: list[Record] = [
        run_folders.record("a", objective=0.5),
        run_folders.record("b", objective=0.9),
        run_folders.record("c", "full"),
        run_folders.failed("d", "freeze"),
        run_folders.record("e", "base"),
    ]

    def sent(choice: str | None) -> tuple[list[str], list[str]]:
        models = Models(choice, tmp_path, "")  # type: ignore[arg-type]
        ending = [record.trial_id for record in found if models.wants(record)]
        return ending, [record.trial_id for record in models.at_end(found)]

    assert sent(None) == ([], [])
    assert sent("best") == ([], ["b", "c"])
    assert sent("all") == (["a", "b", "c", "d"], ["a", "b", "c", "d"])


def test_of_all_models_those_are_sent_at_the_end_that_did_not_go_there_before(
    trial: FollowedTrial, tmp_path: Path
) -> None:
    """A run at a URL has its models there, and `log_model` may be set on resume: its trials are sent without them."""
    models = Models("all", tmp_path / "sent", "here")
    assert not models.is_sent(trial)
    models.mark(trial)
    assert models.is_sent(trial)
    assert not Models("all", tmp_path / "sent", "elsewhere").is_sent(trial)
    assert not Models("best", tmp_path / "sent", "here").is_sent(trial)
