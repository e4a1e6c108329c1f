"""``paretune try``: one trial of a spec in this process."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sweeps.commands.common_options import PREPARE, EventsOption
from sweeps.commands.errors import FAILED, users_errors
from sweeps.commands.spec_options import (
    MethodOption,
    SetOption,
    SpecArgument,
    StageOption,
    plan_spec,
    refuse_errors,
)

if TYPE_CHECKING:
    from sweeps.commands.json_events import CommandEvents
    from sweeps.planning.plan import Plan
    from sweeps.runs.artifacts import BestTrials


def add(app: typer.Typer, best_trials: BestTrials) -> None:
    """Adds the command to an app."""

    @app.command(name="try", rich_help_panel=PREPARE)
    def try_(
        spec: SpecArgument,
        stage: StageOption = None,
        method: MethodOption = None,
        output: Annotated[
            Path,
            typer.Option(help="Folder for the run folder OUTPUT/NAME-try; NAME is the spec's name."),
        ] = Path("runs"),
        sets: SetOption = None,
        as_json: EventsOption = None,
    ) -> None:
        """Run one trial in this process without Ray, for a quick test or a debugger.

        If it continues from other trials, these run first.
        --method base scores the model from which the stage's first method would start.
        """
        from sweeps.cluster.private_folder import private_temporary_files
        from sweeps.commands.json_events import command_events
        from sweeps.spec.entries import BASE

        untrained = method == BASE
        with private_temporary_files(), command_events(as_json) as events:
            with users_errors():
                trained = None if untrained else method
                made = plan_spec(
                    spec, sets, best_trials, fetch=True, one_trial=True, stage=stage, method=trained
                )
                refuse_errors(made)
                _refuse_unscored(made, untrained)
                _run_folder(made, output).mkdir(parents=True, exist_ok=True)
            # Outside the block above: an error of the trial itself keeps its stack trace.
            code = _run_one_trial(made, output, untrained, events)
        raise typer.Exit(code)


def _refuse_unscored(made: Plan, untrained: bool) -> None:
    from trainables.data.errors import DataError

    if untrained and not made.cell(made.selected[0]).holds_out:
        raise DataError("no rows are held out (data.eval_fraction: 0) to score the untrained model on")


def _run_folder(made: Plan, output: Path) -> Path:
    return (output / f"{made.spec.name}-try").resolve()


def _run_one_trial(made: Plan, output: Path, untrained: bool, events: CommandEvents | None) -> int:
    from sweeps.console.sweep_progress import describe
    from sweeps.execution.local_trial import not_run, run_one_trial

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)
        if events is not None:
            events.progress(text)

    run_folder, cell = _run_folder(made, output), made.selected[0]
    for note in made.cell(cell).data_notes:
        say(note)
    record = run_one_trial(made, cell, run_folder, say, untrained)
    file = run_folder / "trials" / record.trial_id / "record.json"
    failed = record.status == "failed"
    if events is None:
        print(describe(record))
    say(f"{not_run(made, cell, untrained)}. The whole sweep: paretune run {_quoted(made)}")
    if events is None:
        print(file)
    elif failed:
        events.error(record.error or "the trial failed", FAILED)
    else:
        events.result({"record_file": str(file), "record": record.model_dump(mode="json")})
    return FAILED if failed else 0


def _quoted(made: Plan) -> str:
    return shlex.quote(str(made.spec.source.file))
