"""``status`` and ``logs``: follow a run from any machine that has its folder or URL."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from typing import TYPE_CHECKING, Annotated

import typer

from sweeps.commands.common_options import RUN, JsonOption
from sweeps.commands.errors import users_errors
from sweeps.commands.json_output import print_json

if TYPE_CHECKING:
    from rich.console import RenderableType

    from sweeps.runs.location import RunLocation
    from sweeps.runs.status import RunState

LOOK_SECONDS, URL_SECONDS = 1.0, 10.0  # between looks at a run that is followed: in a folder, at a URL
UNWRAPPED = 500  # characters in a line of the table, where it is no terminal
RunArgument = Annotated[
    str, typer.Argument(metavar="RUN", help="Folder or URL of the run, such as runs/methods.")
]


def add(app: typer.Typer) -> None:
    """Adds the commands to an app."""
    for command in (status, logs):
        app.command(rich_help_panel=RUN)(command)


def status(
    run: RunArgument,
    as_json: JsonOption = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Show the state again and again while the run goes on.")
    ] = False,
) -> None:
    """Show the state of a run: finished and remaining trials, the best so far, and where it runs.

    The folder of paretune try (runs/NAME-try) has a state, too.
    """
    from sweeps.runs import location

    with users_errors(ValueError, OSError):
        run_location = location.existing_run(run)
        state = run_location.state()
        if watch and not as_json and state.holder is not None:
            _watch(run_location)
            return
    if as_json:
        print_json(state.to_json())
        return
    _show(state)


def _show(state: RunState) -> None:
    from sweeps.console.guarded_console import GuardedConsole
    from sweeps.runs import status_text

    console = GuardedConsole()
    # Wrapped lines are hard to grep.
    console = console if console.is_terminal else GuardedConsole(width=UNWRAPPED)
    console.print(status_text.table(state))
    typer.echo(status_text.summary(state))  # not wrapped


def _shown(state: RunState) -> RenderableType:
    from rich.console import Group
    from rich.text import Text

    from sweeps.runs import status_text

    return Group(status_text.table(state), Text(status_text.summary(state), overflow="fold"))


def _watch(run_location: RunLocation) -> None:
    """Shows the state of a run until nobody runs it any more; Ctrl-C ends that, and not the run."""
    from rich.live import Live

    from sweeps.console.guarded_console import GuardedConsole

    console = GuardedConsole()
    with (
        suppress(KeyboardInterrupt),
        Live(console=console, auto_refresh=False, vertical_overflow="visible") as live,
    ):
        for state in _states(run_location):
            if console.is_terminal:
                live.update(_shown(state), refresh=True)
            else:
                _show(state)


def _states(run_location: RunLocation) -> Iterator[RunState]:
    """The states of a run, one after the other; the last one is that after its driver has left."""
    while (state := run_location.state()).holder is not None:
        yield state
        time.sleep(_pause(run_location))
    yield state


def _pause(run_location: RunLocation) -> float:
    from trainables.storage.urls import is_url

    return URL_SECONDS if is_url(run_location.display_name) else LOOK_SECONDS


def logs(
    run: Annotated[
        str, typer.Argument(metavar="RUN[:TRIAL]", help="Folder or URL of the run; the trial may follow it.")
    ],
    trial: Annotated[str | None, typer.Argument(help="Id of a trial, or the beginning of its id.")] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on printing new lines while the run goes on.")
    ] = False,
) -> None:
    """Print the log of a run, or the last steps and the error of one of its trials."""
    from sweeps.runs import location
    from sweeps.runs.trial_names import run_and_trial

    with users_errors(ValueError, OSError):
        run, named = run_and_trial(run)
        trial = trial or named
        run_location = location.existing_run(run)
        printed: set[str] = set()
        with suppress(KeyboardInterrupt) if follow else nullcontext():
            for lines, last in _log_states(run_location, trial):
                for line in lines:
                    if line not in printed:
                        typer.echo(line)
                if last or not follow:
                    return
                printed = set(lines)
                time.sleep(_pause(run_location))


def _log_states(run_location: RunLocation, trial: str | None) -> Iterator[tuple[list[str], bool]]:
    """The lines of a log, again and again, and whether nobody runs the run any more."""
    from sweeps.runs.location import is_status_file
    from sweeps.runs.logs import log_lines

    while True:
        # Asked first: what a driver writes before it leaves is in the lines that are read after that.
        over = run_location.holder() is None
        with run_location.local_copy(is_status_file) as run_folder:
            yield list(log_lines(run_folder, trial, run_location.display_name)), over
