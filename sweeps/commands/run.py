"""``paretune run``, and ``drive``: what the driver process of a detached sweep executes.

Only typer is imported at the top: the command line imports this whenever it starts.
"""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sweeps.commands.common_options import RUN
from sweeps.commands.errors import FAILED, INTERRUPTED, sigterm_like_ctrl_c, users_errors
from sweeps.commands.final_report import ReportWriter, final_report
from sweeps.commands.spec_options import (
    SetOption,
    SpecArgument,
    make_plan,
    read_spec,
    refuse_errors,
    with_warnings,
)

if TYPE_CHECKING:
    from sweeps.execution.run_options import RunOptions
    from sweeps.execution.settling.settle import Advice
    from sweeps.planning.plan import Plan
    from sweeps.runs.artifacts import BestTrials
    from sweeps.runs.location import RunLocation
    from sweeps.spec.spec import Spec
    from sweeps.tracking.recording import Trackers


def add(
    app: typer.Typer,
    best_trials: BestTrials,
    report_writer: Callable[[], ReportWriter],
    advice: Callable[[], Advice],
) -> None:
    """Adds the commands to an app; ``report_writer`` and ``advice`` import what writes and what reads reports."""

    @app.command(rich_help_panel=RUN)
    def run(
        spec: SpecArgument,
        output: Annotated[
            str,
            typer.Option(
                help="Folder or URL (s3://, gs://, ...) for runs; the run folder is OUTPUT/NAME, with the spec's name."
            ),
        ] = "runs",
        address: Annotated[
            str | None,
            typer.Option(
                help="Ray cluster to run on: auto, or HOST:PORT. By default the sweep runs on this machine."
            ),
        ] = None,
        resume: Annotated[
            bool, typer.Option("--resume", help="Continue a run that was interrupted or stopped.")
        ] = False,
        force: Annotated[
            bool, typer.Option("--force", help="Also start trials that are predicted not to fit in memory.")
        ] = False,
        detach: Annotated[
            bool,
            typer.Option(
                "--detach",
                help="Return once the sweep has started. It continues after the terminal is closed.",
            ),
        ] = False,
        sets: SetOption = None,
    ) -> None:
        """Run a sweep: plan it, train and score its trials, and write the report.

        Shows the progress meanwhile, and prints the report's path last.
        Ctrl-C ends it once all trials have saved themselves; a second Ctrl-C ends it at once.
        """
        from sweeps.cluster.private_folder import private_temporary_files
        from sweeps.execution.run_options import RunOptions

        options = RunOptions(output, address, resume, force)
        with users_errors():
            with private_temporary_files():
                sweep = Sweep.plan_spec(read_spec(spec, sets), options, best_trials)
                sweep.refuse_unrunnable(detach)
                code = 0 if detach else sweep.execute(report_writer, advice)
            # Outside: the driver outlives this process and its folder.
            if detach:
                code = sweep.detach()
        raise typer.Exit(code)

    @app.command(hidden=True)
    def drive(request: Annotated[str, typer.Argument(metavar="REQUEST")]) -> None:
        """Execute the request of ``run --detach``, a file or standard input (-), in a process of its own."""
        from sweeps.cluster.private_folder import private_temporary_files
        from sweeps.execution.detached import start
        from sweeps.execution.detached.run_request import RunRequest

        with start.exit_code_logged(), users_errors(), private_temporary_files():
            requested = RunRequest.take(request)
            requested.apply_to_process()
            sweep = Sweep.plan_spec(requested.spec(), requested.options, best_trials)
            raise typer.Exit(
                sweep.execute(
                    report_writer, advice, on_start=lambda: requested.announce(sweep.location.folder)
                )
            )


@dataclass(frozen=True)
class Sweep:
    """A sweep that can start: its plan has no errors, and its trackers accepted the spec's settings.

    ``options.output`` is absolute, so that the command that resumes the run works in any folder.
    """

    plan: Plan
    location: RunLocation
    options: RunOptions
    trackers: Trackers

    @classmethod
    def plan_spec(cls, spec: Spec, options: RunOptions, best_trials: BestTrials) -> Sweep:
        """Plans the spec. A run that is resumed continues from the same earlier trials that it began with.

        Raises ``SpecError`` for a plan with errors, and for tracking that is required but impossible.
        """
        from sweeps.execution import preflight
        from sweeps.execution.run_folder import check_spec
        from sweeps.planning.conventions import conventions_of
        from sweeps.runs import location
        from sweeps.runs.earlier_results import EarlierResults
        from sweeps.runs.layout import settled_in
        from sweeps.spec.spec import as_begun
        from sweeps.tracking.recording import Trackers

        run_location = location.new_run(options.output, spec.name)

        def began() -> dict[str, Any] | None:
            return run_location.environment() if options.resume else None

        # A resumed run keeps the earlier trials that it began with, even if another one is the best by now.
        earlier = EarlierResults(best_trials, lambda: settled_in(began()))
        date = ((began() or {}).get("plan") or {}).get("date")
        if (environment := began()) is not None:
            spec = as_begun(spec, environment)
            check_spec(spec, run_location.folder)
        begun = {"date": date, "conventions": conventions_of(began())}
        place = preflight.place_of(options.address).resumed(began())
        plan = make_plan(spec, earlier, fetch=True, local=options.address is None, place=place, **begun)
        plan = with_warnings(plan, run_location.output)
        refuse_errors(plan)
        absolute = replace(options, output=run_location.output)
        return cls(plan, run_location, absolute, Trackers(plan, run_location.folder))

    def refuse_unrunnable(self, detach: bool) -> None:
        """Raises ``SpecError`` where this machine, the cluster or the output can't carry the sweep.

        Nothing has been written by then. A resumed sweep that is not detached examines the cluster later, and only
        if there are trials left.
        """
        from sweeps.execution import launch, preflight
        from sweeps.runs import location

        address = self.options.address
        if address is None:
            launch.refuse_too_large(self.plan)
        location.require_access(self.location)
        if address is not None and (detach or not self.options.resume):
            preflight.refuse(self.plan, self.options.output, address)

    def detach(self) -> int:
        """Starts a driver that outlives this process and prints how to follow it; returns the exit code.

        Raises ``SpecError`` where another process holds the run, or where the run folder belongs to another spec.
        """
        from sweeps.execution.detached import start
        from sweeps.execution.detached.driver import DriverNotStarted
        from sweeps.execution.detached.run_request import RunRequest
        from sweeps.execution.run_folder import check_location

        check_location(self.plan, self.location, self.options.resume)
        try:
            driver = start.start_driver(
                self.location.folder, RunRequest.from_command(self.plan.spec, self.options)
            )
        except DriverNotStarted as error:
            print(error, file=sys.stderr)
            return error.code
        typer.echo(f"{self.plan.spec.name} runs as {driver}. To follow it or to stop it:")
        for command in ("status", "logs", "stop"):
            typer.echo(f"  paretune {command} {shlex.quote(self.location.display_name)}")
        return 0

    def execute(
        self,
        report_writer: Callable[[], ReportWriter],
        advice: Callable[[], Advice],
        on_start: Callable[[], object] = lambda: None,
    ) -> int:
        """Runs the trials and writes the report; returns the exit code.

        ``on_start`` is called once this process holds the run and the run folder is complete.
        """
        from sweeps.execution.run_folder import prepare
        from sweeps.execution.settling import looks

        # The lock comes first: until this process holds the run, nothing in its folder may be written.
        with self.location.held(self.options.resume), sigterm_like_ctrl_c():
            prepare(self.plan, self.location.folder, self.options.resume, self.location.display_name)
            on_start()
            if self.options.resume:
                looks.begin_for_more_trials(self.location.folder, lambda run: advice().settled_pairs(run))
            return self._run_trials(report_writer())

    def _run_trials(self, write_report: ReportWriter) -> int:
        from sweeps.console.sweep_progress import SweepProgress
        from sweeps.execution import launch
        from sweeps.execution.settling import looks
        from sweeps.runs.layout import has_begun
        from sweeps.runs.resume_points import resume_points
        from sweeps.runs.time_shares import time_shares
        from trainables.results import read_run, tracker_pages
        from trainables.storage.url_store import StorageError
        from trainables.system import provenance

        location, options, progress = self.location, self.options, SweepProgress()
        began, clock = provenance.now(), time.monotonic()
        location.mirror.report_outages(progress.log)
        again = options.resume_command(self.plan.spec.source.file, self.plan.spec.overrides)
        with self.trackers.recording(progress.log, again, partial(progress.log, on_screen=False)):
            try:
                launch.run(
                    self.plan,
                    location.folder,
                    options.address,
                    progress,
                    location.mirror,
                    options.resume,
                    options.force,
                )
                progress.end()
                report = final_report(write_report, location.folder, location.display_name, progress.log)
                if report is not None:
                    looks.mark_reported(location.folder)
                    self.trackers.summarize()
                seconds, at_once = time.monotonic() - clock, self.plan.spec.resources.concurrent or 0
                # A line of the log must not cost what comes after it.
                with suppress(OSError, ValueError):
                    records = read_run(location.folder).records
                    # The seconds of a trial that was resumed are those of earlier sessions, too.
                    resumed = any(
                        r.started_at and r.started_at < began <= (r.ended_at or "") for r in records
                    )
                    ended = [r for r in records if (r.ended_at or "") >= began]
                    if not resumed and (shares := time_shares(ended, seconds, at_once)):
                        progress.log(shares)
            except (KeyboardInterrupt, StorageError) as error:
                progress.end()
                self.trackers.hurry()
                interrupted = isinstance(error, KeyboardInterrupt)
                reason = "Interrupted" if interrupted else f"{error}"
                # After Ctrl-C, a store that fails is waited for only briefly.
                if interrupted:
                    location.mirror.hurry()
                if not has_begun(location.folder):
                    what = "holds no run: it had not begun, or was deleted"
                    print(f"{reason}. {location.folder} {what}.", file=sys.stderr)
                    return INTERRUPTED if interrupted else FAILED
                print(f"{reason}. All finished trials are kept.", file=sys.stderr)
                # Where the store has failed, nothing is known of its checkpoints.
                for point in resume_points(location.folder, location.mirror.store) if interrupted else ():
                    print(f"  {point}", file=sys.stderr)
                print(f"To resume: {again}", file=sys.stderr)
                return INTERRUPTED if interrupted else FAILED
            except Exception:
                progress.end()
                if has_begun(location.folder):
                    progress.log(
                        f"An error ended the sweep. All finished trials are kept. To resume: {again}"
                    )
                raise
        for label, address in tracker_pages(location.folder).items():
            progress.log(f"{label}: {address}")
        code = launch.exit_code(location.folder)
        # Now that the report and the tables are written, which a run at a URL has to get.
        location.mirror.push_all()
        if report is None:
            return code or FAILED
        print(location.display_path(report))
        return code
