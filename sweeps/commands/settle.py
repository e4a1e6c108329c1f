"""``paretune settle``. Only typer is imported at the top: the command line imports this whenever it starts."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from sweeps.commands.common_options import RUN
from sweeps.commands.errors import FAILED, INTERRUPTED, users_errors
from sweeps.commands.final_report import ReportWriter, final_report
from sweeps.commands.model_options import TrustOption

if TYPE_CHECKING:
    from sweeps.execution.settling.settle import Advice


def add(app: typer.Typer, advice: Callable[[], Advice], report_writer: Callable[[], ReportWriter]) -> None:
    """Adds the command to an app; the callables import what knows what is open, and what writes reports."""

    @app.command(rich_help_panel=RUN)
    def settle(
        run: Annotated[str, typer.Argument(metavar="RUN", help="Run folder, such as runs/methods.")],
        minutes: Annotated[
            float,
            typer.Option(min=0, help="Time to spend at most: no training begins that would take longer."),
        ] = 30,
        trust: TrustOption = None,
    ) -> None:
        """Spend time where it is most likely to settle what a run's report leaves open.

        Trains the best configurations of cells with more seeds, scores held-out test rows that were left out, and
        writes the report again. Each time, verdicts have to be more certain. Ctrl-C keeps all that has been added.
        """
        from sweeps.cluster.private_folder import private_temporary_files

        log = partial(print, file=sys.stderr, flush=True)
        with users_errors(FileNotFoundError, ValueError), private_temporary_files():
            from sweeps.execution.settling.settle import settle as spend
            from sweeps.runs import location
            from sweeps.runs.layout import read_environment
            from trainables.storage.urls import is_url

            if is_url(run):
                raise ValueError(
                    f"{run}: settle works on a run folder on this machine. paretune run SPEC --resume --set "
                    "finalists.seeds=N trains more seeds of all cells of a run at a URL"
                )
            where = location.existing_run(run)
            if read_environment(where.folder) is None:
                raise FileNotFoundError(f"{run}: no environment.json here; is it a run folder (runs/NAME)?")
            known = advice()
            with where.held(resume=True):
                try:
                    changed = spend(where.folder, 60 * minutes, known, log, trust or ())
                except KeyboardInterrupt:
                    log(
                        f"Interrupted. All that was added is kept. To go on: paretune settle {shlex.quote(run)}"
                    )
                    raise typer.Exit(INTERRUPTED) from None
                if not changed:
                    return
                report = final_report(report_writer(), where.folder, run, log)
            if report is None:
                raise typer.Exit(FAILED)
            for name, outcome in known.outcomes(where.folder).items():
                typer.echo(f"{name}: {outcome}")
            typer.echo(where.display_path(report))
