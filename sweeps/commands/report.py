"""``paretune report``. Only typer is imported at the top: the command line imports this whenever it starts."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sweeps.commands.common_options import RUN
from sweeps.commands.errors import users_errors

if TYPE_CHECKING:
    from sweeps.commands.final_report import ReportWriter


# What a report says of runs, as plain values: ``reports.values.current_values``.
ReportValues = Callable[..., dict[str, Any]]


def add(
    app: typer.Typer, report_writer: Callable[[], ReportWriter], report_values: Callable[[], ReportValues]
) -> None:
    """Adds the command to an app; ``report_writer`` and ``report_values`` import what they are named for."""

    @app.command(rich_help_panel=RUN)
    def report(
        runs: Annotated[
            list[str],
            typer.Argument(metavar="RUN...", help="Run folders or URLs, such as runs/methods."),
        ],
        output: Annotated[
            Path | None,
            typer.Option(
                help="Folder to write the report into. By default RUN/report, or a folder report beside the first of "
                "several runs."
            ),
        ] = None,
        as_json: Annotated[
            bool,
            typer.Option(
                "--json",
                help="Print what the report says now as JSON. Without --output, nothing is written.",
            ),
        ] = False,
        claims: Annotated[
            Path | None,
            typer.Option(help="A spec, or a file with claims alone, which are answered as added afterwards."),
        ] = None,
        peft_results: Annotated[
            Path | None,
            typer.Option(
                metavar="FOLDER",
                help="Result files of PEFT's method_comparison, shown in a table of their own: others' measurements, "
                "which no answer, claim or figure takes into account.",
            ),
        ] = None,
    ) -> None:
        """Write the report of a run again, or one report that compares several runs. Prints the report's path."""
        with users_errors():
            further = _claims_of(claims) if claims is not None else []
        if as_json and output is None:
            _print_values(runs, report_values(), further, peft_results)
            return
        write = report_writer()
        from contextlib import ExitStack, suppress

        from sweeps.execution.settling import looks
        from sweeps.runs import location
        from sweeps.runs.status import NoRun, run_state
        from sweeps.runs.status_text import remaining_text
        from trainables import results

        # What the report refuses: a folder that is no run, runs that can't be compared, an output with other files.
        with users_errors(ValueError), ExitStack() as copies:
            locations = [location.existing_run(run) for run in runs]
            folders = [copies.enter_context(each.local_copy()) for each in locations]
            for run_folder in folders:
                # The tables of a killed driver lack its last records. A folder without trials may be no run
                # at all, so nothing is written there.
                if results.trial_folders(run_folder):
                    for damaged in results.write_tables(run_folder):
                        print(f"warning: {damaged}; the report leaves its trial out", file=sys.stderr)
            written = write(folders, output, further, peft_results)
            for each, run_folder in zip(locations, folders, strict=True):
                # Runs of early versions have no environment.json, and say nothing of what is to go.
                with suppress(NoRun):
                    if (state := run_state(run_folder)).remaining:
                        name = each.display_name
                        print(f"note: {name} is unfinished, {remaining_text(state)}", file=sys.stderr)
            for run_folder in folders:
                # What an interrupted `settle` had added has been looked at now.
                looks.mark_reported(run_folder)
            published = locations[0].publish_report(written, folders[0])
            if not as_json:
                typer.echo(published)
        if as_json:
            _print_values(runs, report_values(), further, peft_results)


def _claims_of(file: Path) -> list[dict[str, Any]]:
    """The claims of a file, marked as added now. Raises ``SpecError``."""
    from sweeps.execution.stated_claims import marked
    from sweeps.spec import source
    from sweeps.spec.claims.reading import EXAMPLE, PART, read_claims
    from sweeps.spec.problems import SpecError

    written = source.read(file)
    claims, problems = read_claims(written)
    if not claims and not problems:
        problems = [written.problem((PART,), f"this file claims nothing. Write {EXAMPLE}")]
    if problems:
        raise SpecError(*problems)
    return marked([claim.to_record() for claim in claims.values()], later=True)


def _print_values(
    runs: Sequence[str],
    values_of: ReportValues,
    claims: Sequence[Mapping[str, Any]] = (),
    peft_results: Path | None = None,
) -> None:
    from contextlib import ExitStack

    from sweeps.commands.json_output import print_json
    from sweeps.runs import location

    with users_errors(ValueError), ExitStack() as copies:
        folders = [copies.enter_context(location.existing_run(run).local_copy()) for run in runs]
        print_json(values_of(folders, claims, peft_results))
