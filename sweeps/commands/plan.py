"""``paretune plan``: what a sweep of a spec would do, and every problem with the spec."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from sweeps.commands import try_trial
from sweeps.commands.common_options import PREPARE, JsonOption
from sweeps.commands.errors import WRONG, explanation, users_errors
from sweeps.commands.json_output import print_json
from sweeps.commands.spec_options import (
    STDIN_HELP,
    BaseOption,
    MethodOption,
    SetOption,
    StageOption,
    plan_spec,
    refuse_errors,
    with_memory_warnings,
    with_warnings,
)

if TYPE_CHECKING:
    from sweeps.planning.assessment.power import Detectable
    from sweeps.planning.plan import Plan
    from sweeps.runs.artifacts import BestTrials


def add(app: typer.Typer, best_trials: BestTrials, detectable: Callable[[], Detectable]) -> None:
    """Adds ``plan`` and ``try`` to an app; ``detectable`` imports what says which differences can be told."""

    @app.command(rich_help_panel=PREPARE)
    def plan(
        spec: Annotated[str | None, typer.Argument(metavar="[SPEC]", help=STDIN_HELP)] = None,
        as_json: JsonOption = False,
        stage: StageOption = None,
        method: MethodOption = None,
        sets: SetOption = None,
        base: BaseOption = None,
        memory: Annotated[
            str | None,
            typer.Option(help="Show what fits into this much memory, such as 24GiB or 24GB; at least 64MiB."),
        ] = None,
        model: Annotated[
            str | None,
            typer.Option(
                help="Model for --grid: its name, its id on the Hugging Face hub, or the path of a config.json."
            ),
        ] = None,
        grid: Annotated[
            bool,
            typer.Option(
                "--grid", help="Show the predicted memory of every method on --model; takes no SPEC."
            ),
        ] = False,
        measure: Annotated[
            bool,
            typer.Option(
                "--measure",
                help="First train a few steps of each cell whose minutes are unknown, about a minute in all.",
            ),
        ] = False,
        output: Annotated[
            str, typer.Option(help="Folder for runs, whose disk checkpoints would be written to.")
        ] = "runs",
        batch_size: Annotated[
            list[int] | None,
            typer.Option(min=1, help="Batch size for --grid, in rows, by default 1. May be repeated."),
        ] = None,
        cutoff: Annotated[
            list[int] | None,
            typer.Option(
                min=1, help="Sequence length for --grid, in tokens per row, by default 2048. May be repeated."
            ),
        ] = None,
    ) -> None:
        """Check a spec and show its cells, trials, predicted memory and minutes. Trains nothing and needs no GPU.

        paretune plan --model qwen3-8b --grid shows how much memory each method would need on a model.
        """
        from sweeps.cluster.private_folder import private_temporary_files

        as_problems = partial(_problems_as_json, as_json)
        with users_errors(ValueError), private_temporary_files(), as_problems(ValueError):
            from sweeps.spec.byte_sizes import parse_memory_limit

            memory_limit = parse_memory_limit(memory) if memory is not None else None
            if grid or model:
                if model is None or not grid or spec is not None:
                    raise ValueError(
                        "--model and --grid need each other and take no SPEC: --model qwen3-8b --grid"
                    )
                _show_grids(model, batch_size or [1], cutoff or [2048], memory_limit, as_json)
                return
            if spec is None:
                raise ValueError("give a SPEC, such as methods; or --model NAME --grid")
        with users_errors(), private_temporary_files(), as_problems():
            made = plan_spec(spec, sets, best_trials, fetch=measure, base=base, stage=stage, method=method)
            made = with_memory_warnings(with_warnings(made, output))
            if measure and not (as_json and made.errors):
                refuse_errors(made, warn=False)
                _measure(made)
        memory_limit = memory_limit or made.memory_limit
        if as_json:
            from sweeps.planning.assessment.claim_rows import claims_json
            from sweeps.planning.assessment.power import power_json
            from sweeps.planning.plan_json import plan_json

            tree = plan_json(made, memory_limit) | {"power": power_json(made, detectable())}
            if made.spec.claims:
                tree["claims"] = claims_json(made, detectable())
            print_json(tree)
        else:
            from sweeps.console.guarded_console import GuardedConsole
            from sweeps.console.plan_table import show_plan
            from sweeps.planning.assessment.claim_rows import claim_lines
            from sweeps.planning.assessment.power import power_lines

            console = GuardedConsole()
            show_plan(made, console, memory_limit)
            for line in (*power_lines(made, detectable()), *claim_lines(made, detectable())):
                console.print(line, highlight=False, markup=False, soft_wrap=True)
            for problem in made.problems:
                print(f"{'error' if problem.error else 'warning'}: {problem}", file=sys.stderr)
        raise typer.Exit(WRONG if made.errors else 0)

    try_trial.add(app, best_trials)


@contextmanager
def _problems_as_json(as_json: bool, *also: type[Exception]) -> Iterator[None]:
    """With ``as_json``, prints what the user gave wrong as JSON, in the shape of a plan."""
    from sweeps.spec.problems import Problem, SpecError

    try:
        yield
    except Exception as error:
        mistake = explanation(error, *also) if as_json else None
        if mistake is None:
            raise
        from sweeps.planning.plan_json import refused_json

        if not isinstance(error, SpecError):
            error = SpecError(*(Problem("", "", sentence) for sentence in mistake.sentences))
        print_json(refused_json(error))
        raise typer.Exit(mistake.exit_code) from error


def _measure(made: Plan) -> None:
    from sweeps.execution.speed_measurement import measure

    measure(made, partial(print, file=sys.stderr, flush=True))


def _show_grids(
    model: str, batch_sizes: Sequence[int], cutoffs: Sequence[int], memory_limit: int | None, as_json: bool
) -> None:
    """The predicted memory of every method, for every batch size with every sequence length."""
    from sweeps.planning.memory import method_grid

    grids = [(batch, tokens) for batch in batch_sizes for tokens in cutoffs]
    if as_json:
        rows = [
            row.to_json() | {"batch_size": batch, "cutoff": tokens}
            for batch, tokens in grids
            for row in method_grid.grid_rows(model, batch, tokens)
        ]
        print_json(rows)
        return
    for batch, tokens in grids:
        _show_grid(model, batch, tokens, memory_limit)


def _show_grid(model: str, batch_size: int, cutoff: int, memory_limit: int | None) -> None:
    from sweeps.console.guarded_console import GuardedConsole
    from sweeps.console.plan_table import grid_table
    from sweeps.planning.memory import method_grid

    rows = list(method_grid.grid_rows(model, batch_size, cutoff))
    print(
        f"{model}: predicted GPU memory of SFT in GiB, batch of {batch_size} x {cutoff} tokens, bf16, AdamW; "
        "ckpt: gradient checkpointing"
    )
    GuardedConsole().print(grid_table(rows, memory_limit))
    for limit in [memory_limit] if memory_limit else method_grid.COMMON_LIMITS:
        print(method_grid.fit_sentence(rows, limit))
