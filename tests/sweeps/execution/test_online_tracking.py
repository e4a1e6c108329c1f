"""A real sweep that W&B is sent while it runs: a server on loopback keeps what its real client sends."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from sweeps import cli
from tests.helpers.sweep_runs import Sweep
from tests.helpers.sweeps import SMALL, finished
from tests.helpers.wandb_server.server import Server, running
from tests.helpers.wandb_server.store import Run
from trainables import results

pytestmark = [pytest.mark.sweep, pytest.mark.slow, pytest.mark.timeout(1800)]

SPEC = (
    SMALL.replace("steps: 100", "steps: 20")
    .replace("trials: 3", "trials: 2")
    .replace("{wandb: off}", "{wandb: online, project: ours, entity: lab, log_model: best}")
)
assert "online" in SPEC


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running() as started:
        yield started


@pytest.fixture(scope="module")
def online(new: Any, server: Server) -> Sweep:
    sweep: Sweep = new(SPEC)
    sweep.carry_out(**server.environment, WANDB_ENTITY="theirs", WANDB_PROJECT="theirs")
    return sweep


def runs(server: Server, project: str = "ours") -> dict[str, Run]:
    """The runs of trials by trial, and the summary run."""
    return {id_.partition("-")[2]: run for id_, run in server.store.runs_of(project).items()}


def log(sweep: Sweep) -> str:
    return sweep.command.stderr + (sweep.run / "wandb" / "tracker.log").read_text()


def test_the_runs_of_a_sweep_are_at_wandb_when_it_ends(online: Sweep, server: Server) -> None:
    assert online.command.process.returncode == 0, log(online)
    found, records = runs(server), finished(online.run)
    assert found.keys() == {*records, "summary"}
    assert {run.entity for run in found.values()} == {"lab"}
    for trial, record in records.items():
        assert found[trial].exit_code == 0
        assert found[trial].summary["quality"] == record.quality
    assert [each.type for each in server.store.artifacts if each.project == "ours"].count("model") == 1


def test_the_links_are_printed_at_the_end_kept_and_shown_in_the_report(online: Sweep, server: Server) -> None:
    pages = results.tracker_pages(online.run)
    assert pages.keys() == {"W&B report", "W&B workspace"}
    last = online.command.stderr.splitlines()[-2:]
    assert [
        f"{label}: {address}" in line for (label, address), line in zip(pages.items(), last, strict=True)
    ] == [
        True,
        True,
    ], last
    assert pages["W&B report"].startswith(f"{server.address}/lab/ours/reports/tiny--")
    page = (online.run / "report" / "index.html").read_text()
    assert all(f'<a href="{address}"' in page for address in pages.values())
    (report,) = server.store.reports("ours")
    assert "The sweep is running" not in report["spec"]


def contents(run: Run) -> dict[str, Any]:
    """What W&B's pages show of a run, without the moments at which it was sent, and W&B's random ids of tables."""

    def told(values: dict[str, Any]) -> dict[str, Any]:
        return {
            name: told(value) if isinstance(value, dict) else value
            for name, value in values.items()
            if not (name.startswith("_") or name.endswith("artifact_path"))
        }

    keys = ("displayName", "groupName", "jobType", "notes", "tags")
    return {
        "config": told(run.config),
        "summary": told(run.summary),
        "history": {step: found for step, values in run.history.items() if (found := told(values))},
        **{key: run.values.get(key) for key in keys},
    }


def test_the_command_sends_what_the_sweep_sent(
    online: Sweep, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WANDB_MODE", raising=False)
    copied = Path(shutil.copytree(online.run, tmp_path / "tiny"))
    shutil.rmtree(copied / "wandb")
    result = CliRunner().invoke(cli.app, ["wandb", str(copied), "--project", "again"])
    assert result.exit_code == 0, result.output
    first, again = runs(server), runs(server, "again")
    assert first.keys() == again.keys()
    for name in finished(online.run):
        assert contents(again[name]) == contents(first[name])


def test_a_longer_sweep_updates_its_report_and_makes_no_second(online: Sweep, server: Server) -> None:
    before, (report,) = runs(server).keys(), server.store.reports("ours")
    saves = report["saves"]
    online.carry_out("--resume", "--set", "search.trials=3", **server.environment)
    assert online.command.process.returncode == 0, log(online)
    assert runs(server).keys() == {*finished(online.run), "summary"} > before
    (report,) = server.store.reports("ours")
    assert report["saves"] > saves
    assert len(server.store.workspaces("ours")) == 1
