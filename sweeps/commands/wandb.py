"""``paretune wandb``. Only typer is imported at the top: the command line imports this whenever it starts."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sweeps.commands.common_options import RUN
from sweeps.commands.errors import FAILED, users_errors
from sweeps.commands.final_report import ReportWriter, final_report

if TYPE_CHECKING:
    from sweeps.runs.location import RunLocation
    from sweeps.tracking.connectivity import Mode
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
        from sweeps.runs.mirror_rules import needed_by_driver
        from sweeps.tracking import connectivity

        given = {
            name: value for name, value in (("project", project), ("entity", entity)) if value is not None
        }
        with users_errors(ValueError):
            location = locations.existing_run(run)
            mode: Mode = "offline" if offline or connectivity.offline_by_variable() else "online"
            _refuse(location, given, mode)
            tracker = _tracker(location, given, mode)
            with location.local_copy(_with_models if tracker.log_model else needed_by_driver) as folder:
                _require_trials(location, folder)
                with _held(location):
                    code = _send(tracker, location, folder, report_writer())
        raise typer.Exit(code)


def _refuse(location: RunLocation, given: dict[str, str], mode: Mode) -> None:
    """Raises ``SpecError`` for what W&B refuses, where nothing can be sent, and for a run that is being written."""
    from sweeps.spec.problems import Problem, SpecError
    from sweeps.spec.wandb_names import KINDS, name_fault
    from sweeps.tracking import connectivity

    faults = {f"--{kind}": name_fault(kind, given[kind]) for kind in KINDS if kind in given}
    problems = [Problem(option, "", fault) for option, fault in faults.items() if fault]
    if mode == "offline" and location.mirror.store is not None:
        what = "the files would be in a copy that is removed: give a run folder, not a URL"
        by_variable = connectivity.offline_by_variable()
        problems.append(
            Problem("environment", "WANDB_MODE", what) if by_variable else Problem("--offline", "", what)
        )
    if mode == "online" and (obstacle := connectivity.obstacle()) is not None:
        what = f"nothing can be sent: {obstacle}. --offline writes files for `wandb sync`"
        problems.append(Problem("W&B", "", what))
    if problems:
        raise SpecError(*problems)
    location.require_free()


def _require_trials(location: RunLocation, folder: Path) -> None:
    """Raises ``ValueError`` for a folder without trials, which may be none of a run."""
    from trainables import results

    if not results.trial_folders(folder):
        raise ValueError(f"{location.display_name}: no trial has begun here, so there is nothing to send")


def _held(location: RunLocation) -> AbstractContextManager[None]:
    """Holds a run folder, in which the marks of what is sent are written. Of a run at a URL that is a copy."""
    return location.held(resume=True) if location.mirror.store is None else nullcontext()


def _with_models(name: str) -> bool:
    """The files of a run at a URL that are fetched where models are sent: what reports need, and trials' models."""
    from sweeps.runs.mirror_rules import needed_by_driver

    return needed_by_driver(name) or name.split("/")[2:3] == ["model"]


def _tracker(location: RunLocation, given: dict[str, str], mode: Mode) -> WeightsAndBiases:
    """The tracker with the settings of the run. Raises ``SpecError`` for variables that W&B refuses, or that switch it
    off.
    """
    from sweeps.planning.checks import wandb_variables
    from sweeps.spec.problems import Problem, SpecError
    from sweeps.tracking.run_settings import FILES, tracking_of
    from sweeps.tracking.trackers.wandb import WeightsAndBiases

    with location.local_copy(lambda name: name in FILES) as settings:
        tracking = tracking_of(settings, {**given, "wandb": mode})
    if problems := list(wandb_variables.problems(tracking)):
        raise SpecError(*problems)
    if not wandb_variables.is_on(tracking):
        raise SpecError(Problem("environment", "WANDB_MODE", "it is disabled, so nothing would be sent"))
    return WeightsAndBiases.of(tracking, mode, "as requested")


def _send(tracker: WeightsAndBiases, location: RunLocation, folder: Path, write: ReportWriter) -> int:
    """Sends the run, and shows its pages; returns the exit code."""
    from sweeps.tracking.sending import send
    from sweeps.tracking.supervision import LOG_FILE
    from sweeps.tracking.trackers.wandb import WeightsAndBiases
    from trainables import results

    name = location.display_name
    for damaged in results.write_tables(folder):
        print(f"warning: {damaged}; its trial is left out", file=sys.stderr)
    before = results.tracker_pages(folder)
    if not (folder / "report" / "index.html").exists():
        final_report(write, folder, name, _log)
    _log(f"{WeightsAndBiases.label}: {tracker.announcement(folder / tracker.name)}")
    again = f"paretune wandb {shlex.quote(name)}"
    try:
        sent = send(tracker, folder, _log, again)
    finally:
        _keep(location, folder, [f"{tracker.name}/{LOG_FILE}", results.PAGES_FILE])
    pages = results.tracker_pages(folder)
    # The report has links to the pages, which it could not have before.
    report = final_report(write, folder, name, _log) if pages != before else None
    if report is not None:
        location.publish_report(report, folder)
    for label, address in pages.items():
        typer.echo(f"{label}: {address}")
    return 0 if sent else FAILED


def _keep(location: RunLocation, copy: Path, names: list[str]) -> None:
    """Copies those of these files that there are to a run at a URL."""
    if location.mirror.store is not None:
        location.mirror.store.push(copy, [name for name in names if (copy / name).exists()])


def _log(line: str) -> None:
    print(line, file=sys.stderr)
