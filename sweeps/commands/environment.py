"""``fetch`` and ``doctor``: what is on this machine, and on the nodes of a cluster."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sweeps.commands.common_options import PREPARE, EventsOption, JsonOption
from sweeps.commands.errors import users_errors

if TYPE_CHECKING:
    from sweeps.doctor.cluster_report import ClusterReport


def add(app: typer.Typer) -> None:
    """Adds the commands to an app."""
    for command in (doctor, fetch):
        app.command(rich_help_panel=PREPARE)(command)


def fetch(
    name: Annotated[
        str,
        typer.Argument(
            help="A base model, such as smollm2-135m or hf:ORG/NAME; or a data set, such as hf:datasets/ORG/NAME.",
        ),
    ],
    as_json: EventsOption = None,
) -> None:
    """Download a base model or a data set into the local cache. Prints its folder."""
    from sweeps.cluster.private_folder import private_temporary_files
    from sweeps.commands.json_events import command_events
    from trainables.data.hub_datasets import HubDataset
    from trainables.models import locate
    from trainables.storage.files import folder_bytes

    with users_errors(), private_temporary_files(), command_events(as_json) as events:
        is_data = name.partition(":")[2].startswith("datasets/")
        if events is not None:
            events.progress(f"downloading {name}")
        folder = HubDataset.parse(name).fetch() if is_data else locate.fetch_model(name)
        if events is None:
            typer.echo(folder)
        else:
            kind = "data" if is_data else "model"
            events.result({"name": name, "kind": kind, "folder": str(folder), "bytes": folder_bytes(folder)})


def doctor(
    as_json: JsonOption = False,
    address: Annotated[
        str | None,
        typer.Option(help="Ray cluster whose nodes are all examined: auto, or HOST:PORT."),
    ] = None,
    output: Annotated[
        str,
        typer.Option(help="Where runs will be written, which is checked too: a folder, s3://, gs://, ..."),
    ] = "runs",
) -> None:
    """Examine this machine, or every node of a cluster: what works, what is missing, and what to do about it.

    Exits with 1 if something that Paretune needs is missing, or if nodes differ in what must be the same.
    """
    from sweeps.cluster.private_folder import private_temporary_files
    from sweeps.doctor import report as doctor_report

    with private_temporary_files(keep_leftovers=True):  # of torch's compiler, which it tries
        report = doctor_report.examine(output) if address is None else _examine_cluster(address, output)
    if as_json:
        typer.echo(report.to_json())
    else:
        from sweeps.console.guarded_console import GuardedConsole

        GuardedConsole().print(report.table())
        typer.echo(report.verdict())
    raise typer.Exit(report.exit_code)


def _examine_cluster(address: str, output: str) -> ClusterReport:
    with users_errors():
        from sweeps.doctor import cluster_examination
        from trainables.storage.urls import is_url

        return cluster_examination.examine(address, output if is_url(output) else str(Path(output).resolve()))
