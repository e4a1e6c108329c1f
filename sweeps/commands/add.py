"""``paretune add``. Only typer is imported at the top: the command line imports this whenever it starts."""

from __future__ import annotations

from typing import Annotated

import typer

from sweeps.commands.common_options import RUN, JsonOption
from sweeps.commands.errors import users_errors
from sweeps.commands.json_output import print_json


def add(app: typer.Typer) -> None:
    """Adds the command to an app."""
    app.command(name="add", rich_help_panel=RUN)(add_trial)


def add_trial(
    run: Annotated[
        str, typer.Argument(metavar="RUN", help="Folder or URL of the run, such as runs/methods.")
    ],
    like: Annotated[
        str,
        typer.Option(
            metavar="TRIAL", help="Id of the trial whose configuration is taken, or the beginning of its id."
        ),
    ],
    sets: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="PATH=VALUE",
            help="Change a setting of the trial: method.rank=64. May be repeated.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Add one trial to a cell of a run, with the settings of another trial and some of them changed.

    It is marked as added by hand and stands outside of the search: it takes nothing from the cell's budget, and is
    never its best trial. A sweep that runs trains it once a slot is free; else run --resume does, and writes the
    report again.
    """
    from sweeps.runs import location

    with users_errors(ValueError, OSError):
        from sweeps.execution.trial_control import request_addition

        requested, addition = request_addition(location.existing_run(run), like, sets or ())
    if as_json:
        print_json({**requested.to_json(), "like": addition.like, "changes": list(addition.changes)})
        return
    changes = ", ".join(addition.changes)
    typer.echo(f"{addition.cell} {addition.trial_id} is added by hand, as {addition.like} with {changes}")
    if requested.holder is None:
        typer.echo(f"No process runs {requested.run} now: `{requested.resume}` trains it")
    else:
        typer.echo(
            f"It is trained once a slot is free, by {requested.holder}; if the sweep ends first, by --resume"
        )
