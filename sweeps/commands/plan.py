"""``plan``, ``data`` and ``try``: looking at a spec, and running one of its trials here."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sweeps.commands.errors import FAILED, WRONG, users_errors
from sweeps.commands.spec_options import MethodOption, SetOption, SpecArgument, StageOption, planned, refuse

if TYPE_CHECKING:
    from sweeps.planning.plan import Plan
    from sweeps.runs.artifacts import Answers


def add(app: typer.Typer, answers: Answers) -> None:
    """Adds the commands to an app."""

    @app.command()
    def plan(
        spec: Annotated[
            str | None, typer.Argument(metavar="[SPEC]", help="A spec's path, or a shipped one's name.")
        ] = None,
        as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
        stage: StageOption = None,
        method: MethodOption = None,
        sets: SetOption = None,
        memory: Annotated[str | None, typer.Option(help="Say what fits in so much: 24GiB.")] = None,
        model: Annotated[
            str | None, typer.Option(help="With --grid: a model's name, hub id or config.json.")
        ] = None,
        grid: Annotated[
            bool, typer.Option("--grid", help="The memory of every method on --model; no SPEC.")
        ] = False,
        batch_size: Annotated[int, typer.Option(min=1, help="Of the grid, in rows.")] = 1,
        cutoff: Annotated[int, typer.Option(min=1, help="Of the grid, in tokens a row.")] = 2048,
    ) -> None:
        """Show the cells, the trials, and every problem found, without Ray and without training.

        paretune plan --model qwen3-8b --grid shows what each method would take of a model.
        """
        with users_errors(ValueError):
            from sweeps.spec.byte_sizes import parse_bytes

            room = parse_bytes(memory) if memory else None
            if grid or model:
                _grid(model, spec, grid, batch_size, cutoff, room, as_json)
                return
            if spec is None:
                raise ValueError("give a SPEC, or --model NAME --grid")
        with users_errors():
            made = planned(spec, sets, answers, stage=stage, method=method)
        room = room or made.memory
        if as_json:
            import json

            typer.echo(json.dumps(made.to_json(room), indent=2, ensure_ascii=False))
        else:
            _show(made, room)
        raise typer.Exit(WRONG if made.errors else 0)

    @app.command()
    def data(
        spec: SpecArgument,
        stage: StageOption = None,
        method: MethodOption = None,
        as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
        sets: SetOption = None,
    ) -> None:
        """Show what the models will see: counts, lengths, rows with the loss marked, what is wrong with which."""
        with users_errors():
            made = planned(spec, sets, answers, stage=stage, method=method, fetch=True)
            refuse(made, warn=False)  # the rows' warnings are part of what is shown
            _look(made, as_json)

    @app.command(name="try")
    def try_(
        spec: SpecArgument,
        stage: StageOption = None,
        method: MethodOption = None,
        output: Annotated[Path, typer.Option(help="The trial goes to OUTPUT/NAME-try.")] = Path("runs"),
        sets: SetOption = None,
    ) -> None:
        """Run one trial in this process, with no Ray: the debugger's door. What it goes on from is run first.

        --method base scores what the stage's first method would start from.
        """
        from sweeps.spec.entries import BASE

        untrained = method == BASE
        with users_errors():
            made = planned(spec, sets, answers, stage=stage, method=None if untrained else method, fetch=True)
            refuse(made)
        code = _try(made, output, untrained)
        raise typer.Exit(code)


def _grid(
    model: str | None, spec: str | None, grid: bool, batch: int, tokens: int, room: int | None, as_json: bool
) -> None:
    if model is None or not grid or spec is not None:
        raise ValueError("--model and --grid go together, and without a SPEC: plan --model qwen3-8b --grid")
    from sweeps.planning.memory import method_grid as grids

    rows = list(grids.rows(model, batch, tokens))
    if as_json:
        import json

        typer.echo(json.dumps([row.to_json() for row in rows], indent=2, ensure_ascii=False))
        return
    from rich.console import Console

    from sweeps.console.plan_table import grid_table

    print(f"{model}: SFT of {batch} x {tokens} tokens on a GPU, bf16, AdamW; GiB, foretold")
    Console().print(grid_table(rows, room))


def _look(made: Plan, as_json: bool) -> None:
    import json

    from trainables.system import quiet

    quiet.silence()
    from rich.console import Console

    from sweeps.console import data_preview, loading_progress

    with loading_progress.shown():
        found = list(data_preview.looks(made))
    if as_json:
        typer.echo(json.dumps([data_preview.to_json(*each) for each in found], indent=2, ensure_ascii=False))
        return
    for each in found:
        data_preview.show(*each, Console())


def _try(made: Plan, output: Path, untrained: bool) -> int:
    from trainables.system import quiet

    quiet.silence()
    from sweeps.console.sweep_progress import describe
    from sweeps.execution.local import one

    run_folder = (output / f"{made.spec.name}-try").resolve()
    say = partial(print, file=sys.stderr)
    record = one(made, made.asked[0], run_folder, say, untrained)
    print(describe(record))
    print(run_folder / "trials" / record.trial_id / "record.json")
    return FAILED if record.status == "failed" else 0


def _show(made: Plan, room: int | None = None) -> None:
    from rich.console import Console

    from sweeps.console.plan_table import show_plan

    show_plan(made, Console())
    for found in made.fits(room):
        print(found)
    for cell in made.cells if room else ():
        if cell.predicted is None:
            print(f"{cell.name}: what it takes isn't foretold, so it may fit or not")
    for problem in made.problems:
        print(f"{'error' if problem.error else 'warning'}: {problem}", file=sys.stderr)
