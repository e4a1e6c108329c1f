"""``status``, ``logs`` and ``stop``: a run that is made, from any machine that has its folder."""

from __future__ import annotations

from typing import Annotated

import typer

from sweeps.commands.errors import FAILED, users_errors

app = typer.Typer()
RunArgument = Annotated[
    str, typer.Argument(metavar="RUN", help="A run's folder or URL, such as runs/methods.")
]


@app.command()
def status(
    run: RunArgument,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Say what a run is doing: trials done and left, the best so far, what is in training, and where it runs."""
    from sweeps.runs import location
    from sweeps.runs import status as state

    with users_errors(ValueError, OSError):
        found = location.of(run).look()
    if as_json:
        import json

        typer.echo(json.dumps(found.to_json(), indent=2, ensure_ascii=False))
        return
    from rich.console import Console

    Console().print(state.table(found))
    typer.echo(state.summary(found))


@app.command()
def logs(
    run: RunArgument,
    trial: Annotated[str | None, typer.Argument(help="A trial's id, or how it begins.")] = None,
) -> None:
    """Print a run's log, or what is known of one trial: its last steps, its error."""
    from sweeps.runs import location
    from sweeps.runs import status as state

    with users_errors(ValueError, OSError):
        place = location.of(run)
        with place.copied(location.tells_of_it) as run_folder:
            for line in state.log(run_folder, trial, place.shown):
                typer.echo(line)


@app.command()
def stop(
    run: RunArgument,
    wait: Annotated[float, typer.Option(min=0, help="Seconds to wait for its end.")] = 60,
) -> None:
    """End a run as Ctrl-C would, from any machine that has its folder: trials save themselves, --resume goes on."""
    import time

    from sweeps.runs import location
    from sweeps.runs import status as state

    with users_errors(ValueError, OSError):
        place = location.of(run)
        found = place.look()
        if found.holder is None:
            raise ValueError(f"{run}: nobody runs it; it is {found.word}")
        place.ask_to_stop()
        until = time.monotonic() + wait
        while (holder := place.holder()) and time.monotonic() < until:
            time.sleep(0.2)
        if holder:
            typer.echo(f"asked, and not ended after {wait:g} s: {holder}", err=True)
            raise typer.Exit(FAILED)
        typer.echo(f"stopped; {state.to_go(place.look())}")
