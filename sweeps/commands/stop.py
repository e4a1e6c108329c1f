"""``paretune stop``: ends a run, or one of its trials, from any machine that has its folder or URL.

Only typer is imported at the top: the command line imports this whenever it starts.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from sweeps.commands.common_options import RUN, JsonOption
from sweeps.commands.errors import FAILED, users_errors
from sweeps.commands.json_output import print_json

if TYPE_CHECKING:
    from sweeps.runs.location import RunLocation

POLL_SECONDS = 0.2
MESSAGE_SECONDS = 10.0  # between messages while a run or a trial stops


def add(app: typer.Typer) -> None:
    """Adds the command to an app."""
    app.command(rich_help_panel=RUN)(stop)


def stop(
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN[:TRIAL]", help="Folder or URL of the run; with the id of a trial, that trial alone."
        ),
    ],
    wait: Annotated[
        float | None,
        typer.Option(
            min=0, help="Seconds to wait for the run or the trial to stop; as long as it takes by default."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Stop a run as Ctrl-C would, or one of its trials for good.

    A run's trials save themselves, and run --resume continues it. A trial that trains ends at its next step, one that
    waits never starts, and the sweep goes on with the others.
    """
    from sweeps.runs import location
    from sweeps.runs.trial_names import run_and_trial

    with users_errors(ValueError, OSError):
        run, trial = run_and_trial(run)
        run_location = location.existing_run(run)
        if trial is None:
            _stop_run(run_location, wait, as_json)
        else:
            _stop_trial(run_location, trial, wait, as_json)


def _stop_run(run_location: RunLocation, wait: float | None, as_json: bool) -> None:
    from sweeps.runs import status_text

    name, state = run_location.display_name, run_location.state()
    if state.holder is None:
        raise ValueError(f"{name}: no process runs it; it is {state.activity}")
    run_location.request_stop()
    holder = _waited(run_location.holder, wait, "its trials are saving themselves")
    state = run_location.state()
    if as_json:
        print_json({"run": name, "state": state.activity, "holder": holder, "remaining": state.remaining})
    elif holder is None:
        typer.echo(f"stopped; {status_text.remaining_text(state)}")
    if holder is not None:
        _say_still_running(wait, holder)


def _stop_trial(run_location: RunLocation, trial: str, wait: float | None, as_json: bool) -> None:
    from sweeps.execution.trial_control import progress_of, request_stop
    from sweeps.runs.outcomes import outcome

    requested = request_stop(run_location, trial)
    name = f"{requested.cell} {requested.trial_id}"

    def still_running() -> str | None:
        nonlocal requested
        requested = progress_of(run_location, requested)
        return requested.holder if requested.record is None else None

    holder = _waited(still_running, wait, f"{name} ends at its next step")
    if as_json:
        print_json(requested.to_json())
    elif requested.record is not None:
        typer.echo(f"{name}: {outcome(requested.record)}")
    elif holder is None:
        typer.echo(f"{name} is to be stopped; no process runs it now: `{requested.resume}` ends it")
    if holder is not None:
        _say_still_running(wait, holder)


def _waited(holder: Callable[[], str | None], wait: float | None, message: str) -> str | None:
    """Waits until nothing is held any more, and says now and then what for; returns who holds it after ``wait`` s."""
    import math

    from trainables.system.background import Throttle

    waited_since = time.monotonic()
    throttle = Throttle(MESSAGE_SECONDS, wait_first=True)
    while held := holder():
        if time.monotonic() - waited_since >= (math.inf if wait is None else wait):
            return held
        if throttle.due():
            typer.echo(f"{message}: {held}", err=True)
        time.sleep(POLL_SECONDS)
    return None


def _say_still_running(wait: float | None, holder: str) -> None:
    typer.echo(f"asked to stop, but still running after {wait or 0:g} s: {holder}", err=True)
    raise typer.Exit(FAILED)
