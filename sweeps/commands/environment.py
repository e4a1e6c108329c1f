"""``fetch`` and ``doctor``: what is on this machine, and on the nodes of a cluster."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sweeps.commands.errors import users_errors

if TYPE_CHECKING:
    from sweeps.doctor.cluster_report import Fleet

app = typer.Typer()


@app.command()
def fetch(
    name: Annotated[
        str,
        typer.Argument(help="A base model: smollm2-135m, hf:ORG/NAME, ...; or data: hf:datasets/ORG/NAME."),
    ],
) -> None:
    """Bring a base model, or a data set, into the local cache. Prints its folder."""
    from trainables.data.hub_datasets import DataHub
    from trainables.models import locate

    with users_errors():
        is_data = name.partition(":")[2].startswith("datasets/")
        typer.echo(DataHub.parse(name).fetch() if is_data else locate.fetch(name))


@app.command()
def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    address: Annotated[
        str | None, typer.Option(help="Every node of a Ray cluster: auto, or HOST:PORT.")
    ] = None,
    output: Annotated[
        str, typer.Option(help="Where runs are to go, to be looked at too: a path, s3://, gs://, ...")
    ] = "runs",
) -> None:
    """Say what this machine can do, or every node of a cluster, and what is missing.

    Ends with 1 where something that is needed is missing, or where nodes differ in what must be the same.
    """
    from sweeps.doctor import report as doctors

    found = doctors.examine(output) if address is None else _rounds(address, output)
    if as_json:
        typer.echo(found.to_json())
    else:
        from rich.console import Console

        Console().print(found.table())
        typer.echo(found.verdict())
    raise typer.Exit(found.exit_code)


def _rounds(address: str, output: str) -> Fleet:
    with users_errors():
        from sweeps.doctor import cluster_examination
        from trainables.storage.urls import is_url

        return cluster_examination.examine(address, output if is_url(output) else str(Path(output).resolve()))
