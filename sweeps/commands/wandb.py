"""``paretune wandb``. Only typer is imported at the top: the command line imports this whenever it starts."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sweeps.commands.common_options import RUN
from sweeps.commands.errors import FAILED, users_errors
from sweeps.commands.final_report import ReportWriter, final_report

if TYPE_CHECKING:
    from sweeps.runs.location import RunLocation
    from sweeps.spec.settings import TrackingConfig
    from sweeps.tracking.trackers.wandb import WeightsAndBiases


def add(app: typer.Typer, report_writer: Callable[[], ReportWriter]) -> None:
    """Adds the command to an app; ``report_writer`` imports what writes reports."""

    @app.command(rich_help_panel=RUN)
    def wandb(
        run: Annotated[str, typer.Argument(metavar="RUN", help="Run folder or URL, such as runs/methods.")],
        project: Annotated[
            str | None,
            typer.Option(help="W&B project. By default that of the run's spec, else of WANDB_PROJECT."),
        ] = None,
        entity: Annotated[
            str | None,
            typer.Option(help="W&B entity. By default that of the run's spec, else of WANDB_ENTITY."),
        ] = None,
        offline: Annotated[
            bool, typer.Option("--offline", help="Write files for `wandb sync` instead of sending.")
        ] = False,
    ) -> None:
        """Send a run to Weights & Biases: its trials, summary, report and artifacts; again, it updates the same."""
        from sweeps.runs import location as locations
        from sweeps.tracking.run_settings import tracking_of

        given = {
            name: value for name, value in (("project", project), ("entity", entity)) if value is not None
        }
        with users_errors(ValueError):
            location = locations.existing_run(run)
            _refuse(location, given, offline)
            with location.local_copy(_with_models) as folder:
                tracking = tracking_of(folder, {**given, "wandb": "offline" if offline else "online"})
                code = _send(_tracker(tracking), location, folder, report_writer())
        raise typer.Exit(code)


def _refuse(location: RunLocation, given: dict[str, str], offline: bool) -> None:
    """Raises ``SpecError`` for what W&B refuses, where nothing can be sent, and for a run that is being written."""
    from sweeps.spec.problems import Problem, SpecError
    from sweeps.spec.wandb_names import KINDS, name_fault
    from sweeps.tracking import connectivity

    faults = {f"--{kind}": name_fault(kind, given[kind]) for kind in KINDS if kind in given}
    problems = [Problem(option, "", fault) for option, fault in faults.items() if fault]
    if offline and location.mirror.store is not None:
        what = "the files would be in a copy that is removed: give a run folder, not a URL"
        problems.append(Problem("--offline", "", what))
    if not offline and (obstacle := connectivity.obstacle()) is not None:
        what = f"nothing can be sent: {obstacle}. --offline writes files for `wandb sync`"
        problems.append(Problem("W&B", "", what))
    if problems:
        raise SpecError(*problems)
    location.require_free()


def _with_models(name: str) -> bool:
    """The files of a run at a URL that are fetched: what reports need, and the models of trials."""
    from sweeps.runs.mirror_rules import needed_by_driver

    return needed_by_driver(name) or name.split("/")[2:3] == ["model"]


def _tracker(tracking: TrackingConfig) -> WeightsAndBiases:
    """Raises ``SpecError`` for variables that W&B refuses, or that switch it off."""
    from sweeps.planning.checks import wandb_variables
    from sweeps.spec.problems import Problem, SpecError
    from sweeps.tracking.trackers.wandb import WeightsAndBiases

    problems = list(wandb_variables.problems(tracking))
    tracker = None if problems else WeightsAndBiases.requested(tracking)
    if tracker is None:
        disabled = Problem("environment", "WANDB_MODE", "it is disabled, so nothing would be sent")
        raise SpecError(*(problems or [disabled]))
    return tracker


def _send(tracker: WeightsAndBiases, location: RunLocation, folder: Path, write: ReportWriter) -> int:
    """Sends the run, and shows its pages; returns the exit code."""
    from sweeps.tracking.sending import send
    from sweeps.tracking.trackers.wandb import WeightsAndBiases
    from trainables import results

    name = location.display_name
    if not results.trial_folders(folder):
        raise ValueError(f"{name}: no trial has begun here, so there is nothing to send")
    for damaged in results.write_tables(folder):
        print(f"warning: {damaged}; its trial is left out", file=sys.stderr)
    before = results.tracker_pages(folder)
    if not (folder / "report" / "index.html").exists():
        final_report(write, folder, name, _log)
    _log(f"{WeightsAndBiases.label}: {tracker.announcement(folder / tracker.name)}")
    again = f"paretune wandb {shlex.quote(name)}"
    sent = send(tracker, folder, _log, again)
    pages = results.tracker_pages(folder)
    # The report has links to the pages, which it could not have before.
    report = final_report(write, folder, name, _log) if pages != before else None
    if location.mirror.store is not None and pages:
        location.mirror.store.push(folder, [results.PAGES_FILE])
    if report is not None:
        location.publish_report(report, folder)
    for label, address in pages.items():
        typer.echo(f"{label}: {address}")
    return 0 if sent else FAILED


def _log(line: str) -> None:
    print(line, file=sys.stderr)
