"""W&B online, through its real client, against a server on loopback that keeps what is sent: runs, artifacts, the
report and the view.
"""

from __future__ import annotations

import copy
import dataclasses
import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from sweeps import cli
from sweeps.runs import lock
from sweeps.tracking import links
from sweeps.tracking.base import FollowedRun
from sweeps.tracking.run_report import RunReport
from sweeps.tracking.wandb_content import trial_values
from sweeps.tracking.wandb_content.pages import Pages
from sweeps.tracking.wandb_content.sweep_report import Place
from tests.helpers import specs, wandb_sweeps
from tests.helpers.paths import ROOT
from tests.helpers.sweeps import PARETUNE
from tests.helpers.wandb_server.server import Server, running
from tests.helpers.wandb_server.store import Run
from trainables import results

pytestmark = pytest.mark.slow  # half a minute of processor time, most of it that of W&B's own processes

PROJECT = "ours"
ENTITY = "lab"
PLACE = Place(ENTITY, PROJECT)
SPEC = f"tracking: {{project: {PROJECT}, entity: {ENTITY}, log_model: best}}\n"


@dataclass(frozen=True)
class Sent:
    """A run folder that was sent to a server, and what the command printed."""

    server: Server
    folder: Path
    output: str

    @property
    def trials(self) -> dict[str, Run]:
        """The runs of the trials by trial."""
        runs = self.server.store.runs_of(PROJECT)
        return {record.trial_id: runs[f"a1b2c3-{record.trial_id}"] for record in self.records}

    @property
    def records(self) -> list[results.Record]:
        return results.read_run(self.folder).records

    def record(self, cell: str) -> results.Record:
        """The one trial of a cell that ran to its end."""
        (record,) = (each for each in self.records if (each.cell, each.status) == (cell, "done"))
        return record


@pytest.fixture(scope="module")
def sent(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Iterator[Sent]:
    folder = tmp_path_factory.mktemp("wandb")
    patch = pytest.MonkeyPatch()
    for name in ("WANDB_MODE", "WANDB_TAGS", "WANDB_NOTES"):
        patch.delenv(name, raising=False)
    for name in ("WANDB_ENTITY", "WANDB_PROJECT"):
        patch.setenv(name, "theirs")  # what the spec says comes first
    for name in ("WANDB_DIR", "WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR"):
        patch.setenv(name, str(folder / "wandb"))  # of this process, where it asks the server itself
    patch.setenv("WANDB_SILENT", "true")
    run = wandb_sweeps.write(folder / "runs", tiny_model, tracking=SPEC)
    with running() as server:
        result = send(run)
        assert result.exit_code == 0, result.output + (run / "wandb" / "tracker.log").read_text()
        yield Sent(server, run, result.output)
    patch.undo()


def send(run: Path, *options: str) -> Any:
    return CliRunner().invoke(cli.app, ["wandb", str(run), *options])


def table(run: Run, logged: dict[str, Any]) -> Any:
    """The content of a table that a run has logged."""
    return json.loads(run.files[logged["path"]])


def value(run: Run, name: str) -> Any:
    return run.config[name]["value"]


# Runs


def test_each_trial_and_the_base_model_are_runs_in_the_group_of_the_sweep(sent: Sent) -> None:
    assert set(sent.server.store.runs_of(PROJECT)) == {
        *(run.id for run in sent.trials.values()),
        "a1b2c3-summary",
    }
    assert {(run.entity, run.project) for run in sent.server.store.runs.values()} == {(ENTITY, PROJECT)}
    for record in sent.records:
        run = sent.trials[record.trial_id]
        assert (run.values["groupName"], run.values["jobType"]) == ("methods", record.cell)
        assert run.values["displayName"] == f"{record.cell}-{record.trial_id}"
        assert run.values["notes"] == "Which?\n\nparetune run methods"
        assert {"methods", "sft", record.method} <= set(run.values["tags"])
        assert value(run, "method_name") == record.method
        assert value(run, "sweep_id") == "methods-a1b2c3"
        assert run.exit_code == 0
    assert value(sent.trials[sent.record("sft-lora").trial_id], "method")["rank"] == 4


def test_the_curves_of_a_run_are_those_of_its_trial_by_training_step(sent: Sent) -> None:
    for trial, run in sent.trials.items():
        points: dict[int, dict[str, float]] = {}
        for point in results.read_curve(sent.folder / "trials" / trial):
            points.setdefault(point["step"], {"step": point["step"]})[point["name"]] = point["value"]
        history = {
            step: {name: found for name, found in values.items() if not name.startswith("_")}
            for step, values in run.history.items()
        }
        for values in history.values():
            values.pop("sample_answers", None)
        assert {step: values for step, values in history.items() if values} == {
            step: pytest.approx(values) for step, values in points.items()
        }


def test_the_summary_of_a_run_has_the_best_and_the_last_of_curves_and_the_record(sent: Sent) -> None:
    record = sent.record("sft-lora")
    summary = sent.trials[record.trial_id].summary
    curve = [
        point["value"]
        for point in results.read_curve(sent.folder / "trials" / record.trial_id)
        if point["name"] == "objective"
    ]
    assert summary["objective"] == pytest.approx({"max": max(curve), "last": curve[-1]})
    assert summary["train_loss"].keys() == {"min", "last"}
    assert summary["quality"] == pytest.approx(record.quality)
    assert summary["status"] == "done"
    stopped = sent.trials[wandb_sweeps.STOPPED].summary
    assert (stopped["status"], stopped["stopped_at_step"], stopped["stopped_at_rung"]) == ("stopped", 2, 2)
    assert "behind" in stopped["ending"]


def test_the_rules_of_curves_are_those_of_wandb(sent: Sent) -> None:
    """By the numbers of W&B's protocol: 1 the name, 5 the axis, 7 the rules (1 min, 2 max, 5 last)."""
    run = sent.trials[sent.record("sft-lora").trial_id]
    rules = {each["1"]: each.get("7") for each in value(run, "_wandb")["m"]}
    assert rules["objective"] == [2, 5]
    assert rules["train_loss"] == [1, 5]


def test_the_summary_run_has_the_tables_and_the_front(sent: Sent) -> None:
    summary = sent.server.store.runs_of(PROJECT)["a1b2c3-summary"]
    assert value(summary, "summary_of") == "methods-a1b2c3"
    assert "sweep_id" not in summary.config
    assert summary.summary["comparison"]["nrows"] == 3
    assert summary.summary["failures"]["nrows"] == 1
    assert any(name.startswith("media/table/comparison") for name in summary.files)
    samples = table(summary, summary.summary["sample_answers"])
    assert samples["columns"][:3] == ["comparison", "prompt", "reference"]
    first = rows_of(sent, "sft-lora")[0]
    assert samples["data"][0][1:3] == [prompt_of(first), first["reference"]]
    found = dict(zip(samples["columns"][3:], samples["data"][0][3:], strict=True))
    full, lora, base = (wandb_sweeps.ANSWERS[f"sft-{method}"] for method in ("full", "lora", "base"))
    assert found == {"full": full, "lora": lora, "untuned": base}


def test_the_run_of_a_trial_has_its_answers(sent: Sent) -> None:
    for cell, answer in wandb_sweeps.ANSWERS.items():
        run = sent.trials[sent.record(cell).trial_id]
        (logged,) = (
            values["sample_answers"] for values in run.history.values() if "sample_answers" in values
        )
        found = table(run, logged)
        assert found["columns"] == ["row", "prompt", "reference", "answer", "score"]
        assert found["data"] == [
            [row["row"], prompt_of(row), row["reference"], answer, pytest.approx(row["score"])]
            for row in rows_of(sent, cell)
        ]


def rows_of(sent: Sent, cell: str) -> list[dict[str, Any]]:
    """The rows that the trial of a cell was scored on."""
    path = sent.folder / "trials" / sent.record(cell).trial_id / "predictions.parquet"
    return pq.read_table(path).to_pylist()


def prompt_of(row: dict[str, Any]) -> str:
    return "\n".join(f"{each['role']}: {each['content']}" for each in json.loads(row["prompt"]))


def test_the_command_says_where_the_report_and_the_view_are(sent: Sent) -> None:
    pages = links.read(sent.folder, "wandb")["pages"]
    assert f"W&B report: {pages['W&B report']}" in sent.output
    assert f"W&B workspace: {pages['W&B workspace']}" in sent.output
    assert pages["W&B report"].startswith(f"{sent.server.address}/{ENTITY}/{PROJECT}/reports/methods--")
    page = (sent.folder / "report" / "index.html").read_text()
    assert f'<a href="{pages["W&B report"]}"' in page
    assert json.loads((sent.folder / "report" / "report.json").read_text())["pages"] == pages


# Artifacts


def test_records_and_report_are_artifacts_of_the_summary_run(sent: Sent) -> None:
    (records,) = sent.server.store.versions(PROJECT, "methods-a1b2c3-records")
    assert set(records.contents) == {"trials.parquet", "curves.parquet"}
    report = sent.server.store.versions(PROJECT, "methods-a1b2c3-report")[0]
    assert {"index.html", "summary.md", "report.json"} <= set(report.contents)
    assert records.run == report.run == "a1b2c3-summary"


def test_the_best_model_of_each_cell_is_an_artifact_of_its_trial(sent: Sent) -> None:
    models = {each.name: each for each in sent.server.store.artifacts if each.type == "model"}
    assert set(models) == {f"{cell}-{sent.record(cell).trial_id}" for cell in ("sft-full", "sft-lora")}
    trial = sent.record("sft-lora").trial_id
    lora = models[f"sft-lora-{trial}"]
    assert lora.run == f"a1b2c3-{trial}"
    assert {"README.md", "config.json", "record.json", "model/adapter_model.safetensors"} <= set(
        lora.contents
    )
    saved = sent.folder / "trials" / trial / "model" / "adapter_model.safetensors"
    assert lora.contents["model/adapter_model.safetensors"] == saved.read_bytes()
    assert b"lora" in lora.contents["README.md"]


def test_a_model_in_wandb_is_named_as_a_result(
    sent: Sent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sweeps.runs.resolve import resolve

    monkeypatch.setenv("PARETUNE_HOME", str(tmp_path))
    trial = sent.record("sft-lora").trial_id
    name = f"wandb:{ENTITY}/{PROJECT}/sft-lora-{trial}:v0"
    result = resolve(name, lambda run: [])
    assert (result.name, result.is_adapter, result.config.cell) == (name, True, "sft-lora")
    assert result.record is not None
    assert result.record.trial_id == trial
    asked = len(sent.server.store.operations)
    assert resolve(name, lambda run: []).trained_folder == result.trained_folder
    assert len(sent.server.store.operations) == asked


def test_a_model_in_wandb_is_the_base_model_of_another_sweep(
    sent: Sent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PARETUNE_HOME", str(tmp_path / "home"))
    trial = sent.record("sft-full").trial_id
    name = f"wandb:{ENTITY}/{PROJECT}/sft-full-{trial}:v0"
    folder = specs.spec_folder(tmp_path / "spec")
    text = specs.SPEC.replace("{path: model}", f"{{name: '{name}'}}")
    said = f"{name} is not on this machine yet, so its memory is not predicted; run fetches it"
    assert any(said in problem for problem in specs.problems(folder, text))
    plan = specs.plan(folder, text, fetch=True)  # as `run` does
    assert plan.errors == ()
    assert {cell.tree["model"]["name"] for cell in plan.cells} == {name}
    assert all(cell.predicted is not None for cell in plan.cells)  # its files were read


# The report and the view


def loaded(url: str) -> Any:
    import wandb_workspaces.reports.v2 as wr

    return wr.Report.from_url(url)


def panels_of(report: Any) -> dict[str, list[Any]]:
    """The panels by their kind."""
    found: dict[str, list[Any]] = {}
    for block in report.blocks:
        for panel in getattr(block, "panels", ()):
            found.setdefault(type(panel).__name__, []).append(panel)
    return found


def test_the_report_says_the_answer_and_shows_the_runs(sent: Sent) -> None:
    report = loaded(links.read(sent.folder, "wandb")["pages"]["W&B report"])
    assert (report.title, report.description) == ("methods", "Which?")
    titles = [block.text for block in report.blocks if type(block).__name__ == "H2"]
    assert titles == [
        "The answer", "Quality and memory", "Settings and objective", "Learning curves", "Comparison",
        "Sample answers side by side",
        *(["What the models saw"] if "What the models saw" in titles else []),
        "Using the results", "Failures and early stops", "How to repeat it",
    ]  # fmt: skip
    texts = [block.text for block in report.blocks if type(block).__name__ == "MarkdownBlock"]
    assert texts[0] == RunReport.read(sent.folder).sections[0][1]
    assert wandb_sweeps.STOPPED in "".join(texts)


def test_the_panels_of_the_report_are_about_values_that_the_runs_have(sent: Sent) -> None:
    import wandb_workspaces.reports.v2 as wr

    panels = panels_of(loaded(links.read(sent.folder, "wandb")["pages"]["W&B report"]))
    summary = sent.trials[sent.record("sft-lora").trial_id].summary
    (scatter,) = panels["ScatterPlot"]
    assert (scatter.x, scatter.y) == (wr.SummaryMetric("peak_gib"), wr.SummaryMetric("quality"))
    (bars,) = panels["BarPlot"]
    assert bars.groupby == wr.Config("cell")
    assert [metric.name for metric in bars.metrics] == [
        "peak_load_gib", "peak_train_gib", "peak_eval_gib", "predicted_peak_gib",
    ]  # fmt: skip
    assert {metric.name for metric in bars.metrics} <= trial_values.PEAKS.keys()
    curves = {metric.name for panel in panels["LinePlot"] for metric in panel.y}
    assert curves == {"objective", "train_loss"} <= summary.keys()
    assert all(panel.groupby == wr.Config("cell") for panel in panels["LinePlot"])
    (coordinates,) = panels["ParallelCoordinatesPlot"]
    columns = [column.metric for column in coordinates.columns]
    assert columns[:3] == [wr.Config(path) for path in ("method.rank", "method.alpha", "train.learning_rate")]
    assert columns[-1] == wr.SummaryMetric("objective.last")
    assert "last" in summary["objective"]
    (importance,) = panels["ParameterImportancePlot"]
    assert importance.with_respect_to == "objective.last"
    assert summary["quality"] is not None
    assert {panel.table_name for panel in panels["WeavePanelSummaryTable"]} == {
        "comparison",
        "sample_answers",
    }


def test_the_runs_of_a_report_are_those_of_its_sweep_coloured_by_method(sent: Sent) -> None:
    (view,) = sent.server.store.reports(PROJECT)
    grids = [
        block["metadata"] for block in json.loads(view["spec"])["blocks"] if block["type"] == "panel-grid"
    ]
    trials = [grid for grid in grids if grid["runSets"][0]["name"] == "Trials"]
    assert len(trials) == 3
    for grid in trials:
        (condition,) = grid["runSets"][0]["filters"]["filters"]
        assert (condition["key"]["section"], condition["key"]["name"]) == ("config", "sweep_id")
        assert condition["value"] == "methods-a1b2c3"
        colours = grid["customRunColors"]
        assert colours.keys() == {run.id for run in sent.trials.values()}
        assert len(set(colours.values())) == 3  # the base model, full and lora
        lora = sent.record("sft-lora").trial_id
        assert colours[f"a1b2c3-{lora}"] == colours[f"a1b2c3-{wandb_sweeps.STOPPED}"]


def content(panel: Any) -> dict[str, Any]:
    """What a panel shows, without its place on the page."""
    names = (each.name for each in dataclasses.fields(panel))
    shown = [name for name in names if not name.startswith("_") and name not in ("id", "layout")]
    return {"kind": type(panel).__name__, **{name: getattr(panel, name) for name in shown}}


def test_the_view_groups_by_sweep_and_cell_and_has_the_panels_of_the_report(sent: Sent) -> None:
    from wandb_workspaces import workspaces

    view = workspaces.Workspace.from_url(links.read(sent.folder, "wandb")["pages"]["W&B workspace"])
    assert [each.name for each in view.runset_settings.groupby] == ["sweep_id", "cell"]
    report = loaded(links.read(sent.folder, "wandb")["pages"]["W&B report"])
    in_report = dict[str, list[Any]]()
    for title, grid in itertools.pairwise(report.blocks):
        if hasattr(grid, "panels") and grid.runsets[0].name == "Trials":
            in_report[title.text] = [content(panel) for panel in grid.panels]
    assert {
        section.name: [content(panel) for panel in section.panels] for section in view.sections
    } == in_report
    assert list(in_report) == ["Quality and memory", "Settings and objective", "Learning curves"]
    assert [len(shown) for shown in in_report.values()] == [2, 2, 2]


def test_another_sweep_of_the_project_has_its_own_report_and_the_same_view(
    sent: Sent, tmp_path: Path
) -> None:
    other = FollowedRun(tmp_path, {"name": "methods", "wandb_id": "ffffff"})
    pages = Pages(other)
    reports, views = (
        len(sent.server.store.reports(PROJECT)),
        copy.deepcopy(sent.server.store.workspaces(PROJECT)),
    )
    pages.announce(PLACE)
    assert len(sent.server.store.reports(PROJECT)) == reports + 1
    assert sent.server.store.workspaces(PROJECT) == views  # as people may have arranged it
    known = links.read(tmp_path, "wandb")
    text = str(loaded(known["pages"]["W&B report"]).blocks)
    assert "The sweep is running" in text
    Pages(other).complete(PLACE, RunReport.read(sent.folder))
    assert links.read(tmp_path, "wandb") == known
    assert "The sweep is running" not in str(loaded(known["pages"]["W&B report"]).blocks)
    Pages(other).announce(PLACE)  # of a resumed sweep, whose report stays until it has another answer
    assert "The sweep is running" not in str(loaded(known["pages"]["W&B report"]).blocks)
    assert len(sent.server.store.reports(PROJECT)) == reports + 1


def test_a_report_that_was_deleted_is_made_anew(sent: Sent, tmp_path: Path) -> None:
    run = FollowedRun(tmp_path, {"name": "deleted", "wandb_id": "dddddd"})
    Pages(run).announce(PLACE)
    first = links.read(tmp_path, "wandb")["report_id"]
    view = sent.server.store.views.pop(first)
    view["id"] = "elsewhere"  # ids are not given twice
    sent.server.store.views["elsewhere"] = {**view, "type": "deleted"}
    Pages(run).complete(PLACE, RunReport.read(sent.folder))
    assert links.read(tmp_path, "wandb")["report_id"] != first


def test_a_report_that_cannot_be_saved_ends_no_sweep_as_it_begins(
    sent: Sent, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sent.server.failing.add("upsertView")
    try:
        run = FollowedRun(tmp_path, {"name": "failing", "wandb_id": "eeeeee"})
        Pages(run).announce(PLACE)
        assert "could not be saved as the sweep began" in capsys.readouterr().err
        assert links.read(tmp_path, "wandb") == {}
        with pytest.raises(Exception, match="upsertView fails"):
            Pages(run).complete(PLACE, RunReport.read(sent.folder))
    finally:
        sent.server.failing.clear()


# Again


def test_sent_again_the_same_runs_are_updated_and_nothing_is_there_twice(sent: Sent, tmp_path: Path) -> None:
    """With the marks of what was sent, and from a copy that has none."""
    store, first = sent.server.store, copy.deepcopy(sent.server.store)
    elsewhere = Path(shutil.copytree(sent.folder, tmp_path / "methods"))
    shutil.rmtree(elsewhere / "wandb")
    for folder in (sent.folder, elsewhere):
        assert send(folder).exit_code == 0
        assert store.runs.keys() == first.runs.keys()
        for key, run in first.runs.items():
            if not key[2].endswith("summary"):
                steps = {
                    step: values["_step"] for step, values in run.history.items() if "train_loss" in values
                }
                again = store.runs[key].history
                assert {step for step, values in again.items() if "train_loss" in values} == set(steps)
                assert store.runs[key].summary.get("objective") == run.summary.get("objective")
        assert store.views.keys() == first.views.keys()
        assert [each.version for each in store.versions(PROJECT, "methods-a1b2c3-records")] == [0]


def test_a_run_that_another_process_sends_is_refused_until_that_has_ended(sent: Sent, tmp_path: Path) -> None:
    copied = Path(shutil.copytree(sent.folder, tmp_path / "methods"))
    shutil.rmtree(copied / "wandb")
    with socket.create_server(("127.0.0.1", 0)) as silent:  # connections are accepted, and never answered
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        first = subprocess.Popen(
            [*PARETUNE, "wandb", str(copied)],
            env={**os.environ, "WANDB_BASE_URL": address, "PYTHONPATH": str(ROOT)},
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            assert first.stderr is not None
            assert "online" in first.stderr.readline()  # it holds the run, and begins to send it
            second = send(copied)
            assert second.exit_code == 2
            assert f"another run holds it: process {first.pid} on " in second.output
            assert first.poll() is None
            first.send_signal(signal.SIGINT)
            assert first.wait(60) == 130
        finally:
            first.kill()
            first.wait()
    assert lock.holder(copied) is None
    third = send(copied)
    assert third.exit_code == 0, third.output
