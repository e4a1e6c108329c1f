"""``paretune init``: writes a commented spec for data, or for a configuration of LLaMA-Factory or ms-swift."""

from __future__ import annotations

import shlex
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sweeps.commands.common_options import PREPARE
from sweeps.commands.errors import FAILED, users_errors
from sweeps.commands.spec_options import SetOption

if TYPE_CHECKING:
    from sweeps.drafting.request import Request
    from sweeps.drafting.written import Written


def add(app: typer.Typer) -> None:
    """Adds the command to an app."""
    app.command(rich_help_panel=PREPARE)(init)


def init(
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="[DATA|CONFIG]",
            help="A file, a folder or the name of a data set; or a YAML or JSON file of LLaMA-Factory or ms-swift, "
            "or a text file with their command line.",
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="Model to train: its name, its id on the Hugging Face hub, or its folder."),
    ] = None,
    stage: Annotated[
        str | None, typer.Option(help="Stage: sft, dpo, ... By default what the rows are for.")
    ] = None,
    minutes: Annotated[
        float | None,
        typer.Option(min=1, help="Minutes that the sweep may take, as far as they can be predicted."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="The spec to write. By default the source's name, with .yaml.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a spec that exists.")] = False,
    measure: Annotated[
        bool,
        typer.Option(
            "--measure",
            help="First train a few steps of each method whose minutes are unknown, about a minute in all, so that the "
            "budget is made for --minutes.",
        ),
    ] = False,
    sets: SetOption = None,
) -> None:
    """Write a commented spec for your data: stage, methods that fit, settings to search, a budget.

    In a terminal it asks for what isn't given; elsewhere it takes defaults, and says which.
    Exits with 1 if the spec still lacks something that only you know.
    """
    from sweeps.cluster.private_folder import private_temporary_files

    with users_errors(FileExistsError), private_temporary_files():
        from sweeps.console import loading_progress
        from sweeps.drafting.request import Request, as_asked

        request = Request(source, model, stage, minutes, output, force, tuple(sets or ()), _typed())
        if sys.stdin.isatty() and sys.stdout.isatty():
            request = as_asked(request, _ask)
        request = request.with_defaults()
        with loading_progress.display():
            from sweeps.drafting.written import write

            written = write(request)
        if measure and written.plan.times().unknown and not written.to_do:
            _measure(written.file)
            with loading_progress.display():
                written = write(replace(request, force=True))
        _show(written, request)
    raise typer.Exit(FAILED if written.to_do else 0)


def _measure(file: Path) -> None:
    """Measures the speed of what a spec trains, where it isn't known; fetches its model."""
    from sweeps.execution import speed_measurement
    from sweeps.planning import plan as planning
    from sweeps.spec.spec import read

    made = planning.make(read(file), fetch=True)
    speed_measurement.measure(made, partial(print, file=sys.stderr, flush=True))


def _ask(question: str, default: str) -> str:
    return str(typer.prompt(question, default=default))


def _typed() -> str:
    """The command as it was typed, for the spec's first line."""
    from trainables.system.redaction import redacted

    return redacted(shlex.join(["paretune", *sys.argv[1:]])) if sys.argv[1:2] == ["init"] else "paretune init"


def _show(written: Written, request: Request) -> None:
    from trainables.system.wording import padded

    for line in (*request.defaults, *written.proposal.choices):
        typer.echo(line)
    if written.proposal.left_out:
        typer.echo(f"not carried over from {request.source}:")
        for line in written.proposal.left_out:
            typer.echo(f"  {line}")
    for line in written.budget_lines:
        typer.echo(line)
    for line in written.warnings:
        print(f"warning: {line}", file=sys.stderr)
    typer.echo(f"\nWritten: {written.file}")
    if written.to_do:
        typer.echo("To be filled in before it can be planned:")
        for line in written.to_do:
            typer.echo(f"  {line}")
    typer.echo("Next:")
    for command, what in written.next_commands:
        typer.echo(f"  {padded(command, 40)} # {what}")
