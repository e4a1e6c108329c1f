"""``status``, ``logs`` and ``stop``: follow and end a run from any machine that has its folder or URL."""

from __future__ import annotations

from typing import Annotated

import typer

from sweeps.commands.common_options import RUN, JsonOption
from sweeps.commands.errors import FAILED, users_errors

POLL_SECONDS = 0.2
MESSAGE_SECONDS = 10.0  # between messages while a run stops
RunArgument = Annotated[
    str, typer.Argument(metavar="RUN", help="Folder or URL of the run, such as runs/methods.")
]


def add(app: typer.Typer) -> None:
    """Adds the commands to an app."""
    for command in (status, logs, stop):
        app.command(rich_help_panel=RUN)(command)


def status(run: RunArgument, as_json: JsonOption = False) -> None:
    """Show the state of a run: finished and remaining trials, the best so far, and where it runs."""
    from sweeps.runs import location
    from sweeps.runs import status as run_status

    with users_errors(ValueError, OSError):
        state = location.existing_run(run).state()
    if as_json:
        import json

        typer.echo(json.dumps(state.to_json(), indent=2, ensure_ascii=False))
        return
    from sweeps.console.guarded_console import GuardedConsole

    GuardedConsole().print(run_status.table(state))
    typer.echo(run_status.summary(state))


def logs(
    run: RunArgument,
    trial: Annotated[str | None, typer.Argument(help="Id of a trial, or the beginning of its id.")] = None,
) -> None:
    """Print the log of a run, or the last steps and the error of one of its trials."""
    from sweeps.runs import location
    from sweeps.runs import status as run_status

    with users_errors(ValueError, OSError):
        run_location = location.existing_run(run)
        with run_location.local_copy(location.is_status_file) as run_folder:
            for line in run_status.log_lines(run_folder, trial, run_location.display_name):
                typer.echo(line)


def stop(
    run: RunArgument,
    wait: Annotated[
        float | None,
        typer.Option(min=0, help="Seconds to wait for the run to stop; as long as it takes by default."),
    ] = None,
) -> None:
    """Stop a run as Ctrl-C would: its trials save themselves, and run --resume continues it."""
    import math
    import time

    from sweeps.runs import location
    from sweeps.runs import status as run_status
    from trainables.system.background import Throttle

    with users_errors(ValueError, OSError):
        run_location = location.existing_run(run)
        state = run_location.state()
        if state.holder is None:
            raise ValueError(f"{run}: no process runs it; it is {state.activity}")
        run_location.request_stop()
        waited_since = time.monotonic()
        throttle = Throttle(MESSAGE_SECONDS, wait_first=True)
        while holder := run_location.holder():
            if time.monotonic() - waited_since >= (math.inf if wait is None else wait):
                typer.echo(f"asked to stop, but still running after {wait:g} s: {holder}", err=True)
                raise typer.Exit(FAILED)
            if throttle.due():
                typer.echo(f"its trials are saving themselves: {holder}", err=True)
            time.sleep(POLL_SECONDS)
        typer.echo(f"stopped; {run_status.remaining_text(run_location.state())}")
