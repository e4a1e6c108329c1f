"""The options of ``paretune evaluate``, and the request that they make.

Only typer is imported up here: the command line has this whenever it starts.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from sweeps.commands.errors import users_errors
from sweeps.commands.model_options import ResultArgument, TemplateOption, TrustOption

if TYPE_CHECKING:
    from sweeps.evaluation.request import EvaluationRequest
    from sweeps.evaluation.significance import Statistics
    from sweeps.runs.artifacts import Answers
    from trainables.evaluation.lm_eval import Benchmarks
    from trainables.inference.sampling import Sampling


def add(app: typer.Typer, answers: Answers, statistics: Callable[[], Statistics]) -> None:
    """Adds the command to an app."""

    @app.command()
    def evaluate(
        result: ResultArgument,
        other: Annotated[
            str | None,
            typer.Argument(metavar="[OTHER]", help="A second result, compared with the first row by row."),
        ] = None,
        data: Annotated[
            str | None,
            typer.Option(
                help="All rows of a file, a folder, a pattern, a hub's or a known data set; by default what the "
                "trial's own data held out."
            ),
        ] = None,
        part: Annotated[
            str | None, typer.Option(help="Of the trial's own data: test (the default) or validation.")
        ] = None,
        kind: Annotated[
            str | None,
            typer.Option(
                "--as", help="answers, pairs, text, labels or prompts; by default what the rows are."
            ),
        ] = None,
        rows: Annotated[int | None, typer.Option(min=1, help="Only so many rows, drawn by --seed.")] = None,
        seed: Annotated[int, typer.Option(min=0, help="Of drawn rows and drawn answers.")] = 0,
        characters: Annotated[
            bool | None,
            typer.Option(
                "--characters/--words", help="How texts are compared; by default as their script is read."
            ),
        ] = None,
        generate: Annotated[
            bool, typer.Option("--generate/--no-generate", help="Whether answers are written at all.")
        ] = True,
        scorer: Annotated[
            str | None,
            typer.Option(
                metavar="MODULE:FUNCTION",
                help="A score of your own: function(messages, reference, answer) gives a number.",
            ),
        ] = None,
        temperature: Annotated[
            float | None, typer.Option(help="Draws answers; they are greedy without, and at 0.")
        ] = None,
        top_p: Annotated[
            float | None, typer.Option(help="Draws answers from the likeliest tokens with this share.")
        ] = None,
        top_k: Annotated[
            int | None, typer.Option(help="Draws answers from so many of the likeliest tokens.")
        ] = None,
        max_new_tokens: Annotated[
            int | None,
            typer.Option(min=1, help="An answer's most; by default a little over the longest reference."),
        ] = None,
        batch_size: Annotated[
            int | None, typer.Option(min=1, help="Rows at a time; by default as the trial was scored.")
        ] = None,
        cutoff: Annotated[
            int | None, typer.Option(min=8, help="Tokens of a row; by default the trial's own.")
        ] = None,
        by: Annotated[
            str | None,
            typer.Option(metavar="MEASURE", help="What says which of two is better: loss, rougeL, ..."),
        ] = None,
        forgetting: Annotated[
            str | None,
            typer.Option(
                metavar="TEXT", help="A text that the model should still know: its loss before and after."
            ),
        ] = None,
        benchmark: Annotated[
            list[str] | None,
            typer.Option(metavar="TASK", help="A task of lm-evaluation-harness; may be repeated."),
        ] = None,
        benchmark_folder: Annotated[
            Path | None,
            typer.Option(exists=True, file_okay=False, help="Where tasks of your own are, as YAML files."),
        ] = None,
        benchmark_rows: Annotated[
            int | None, typer.Option(min=1, help="Only the first so many of a task.")
        ] = None,
        shots: Annotated[int | None, typer.Option(min=0, help="Examples before a task's questions.")] = None,
        chat: Annotated[
            bool, typer.Option("--chat", help="Write tasks' questions by the chat template.")
        ] = False,
        template: TemplateOption = None,
        trust: TrustOption = None,
        output: Annotated[
            Path | None,
            typer.Option(help="Where to; by default a folder of evaluations/ named after it all."),
        ] = None,
        force: Annotated[
            bool, typer.Option("--force", help="Replace an evaluation that is there already.")
        ] = False,
        as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    ) -> None:
        """Measure a result on any data, or compare two row by row. Prints the folder of what was found last.

        Without --data, --forgetting and --benchmark: on the test part of the trial's own data, as the trial was
        scored.
        """

        def request() -> EvaluationRequest:
            from sweeps.evaluation.request import EvaluationRequest
            from trainables.evaluation.custom_scorer import Scorer
            from trainables.evaluation.evaluate import Settings
            from trainables.evaluation.evaluation_rows import Kind, Part

            settings = Settings(
                batch_size=batch_size,
                cutoff=cutoff,
                generate=generate,
                sampling=_sampling(temperature, top_p, top_k, seed),
                max_new_tokens=max_new_tokens,
                scorer=Scorer.parse(scorer) if scorer else None,
                characters=characters,
            )
            return EvaluationRequest(
                results=(result,) if other is None else (result, other),
                data=data,
                part=_one_of(part, Part, "--part"),
                kind=_one_of(kind, Kind, "--as"),
                rows=rows,
                seed=seed,
                by=by,
                forgetting=forgetting,
                benchmarks=_benchmarks(benchmark, benchmark_folder, shots, benchmark_rows, chat, seed),
                settings=settings,
                template=template,
                trust=tuple(trust or ()),
                output=output,
                force=force,
            )

        _carry_out(request, answers, statistics, as_json)


def _carry_out(
    request: Callable[[], EvaluationRequest], answers: Answers, statistics: Callable[[], Statistics], as_json: bool
) -> None:
    from trainables.system import quiet

    quiet.silence()
    with users_errors(ValueError, FileNotFoundError):
        from sweeps.evaluation import evaluate as evaluation

        warn = partial(print, "warning:", file=sys.stderr)
        folder, found = evaluation.evaluate(request(), answers, statistics(), warn)
    if as_json:
        import json

        typer.echo(json.dumps({"folder": str(folder), **found}, indent=2, ensure_ascii=False))
        return
    from rich.console import Console

    from sweeps.evaluation.output import WIDTH, evaluation_output

    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    for part in evaluation_output(found):
        typer.echo(part) if isinstance(part, str) else console.print(part)
    typer.echo(folder)


def _sampling(
    temperature: float | None, top_p: float | None, top_k: int | None, seed: int
) -> Sampling | None:
    """How answers are drawn, at temperature 1 if none is given; ``None`` for the likeliest ones."""
    from trainables.inference.sampling import Sampling

    if temperature == 0 or (temperature, top_p, top_k) == (None, None, None):
        return None
    return Sampling(
        temperature=1.0 if temperature is None else temperature,
        top_p=1.0 if top_p is None else top_p,
        top_k=top_k or 0,
        seed=seed,
    )


def _benchmarks(
    tasks: list[str] | None,
    folder: Path | None,
    shots: int | None,
    most: int | None,
    chat: bool,
    seed: int,
) -> Benchmarks | None:
    from trainables.evaluation.lm_eval import Benchmarks

    if not tasks:
        if folder or shots is not None or most or chat:
            raise ValueError("--benchmark-folder, --benchmark-rows, --shots and --chat are of a --benchmark")
        return None
    named = tuple(task for each in tasks for task in each.split(",") if task)
    return Benchmarks(named, folder, shots, most, chat, seed)


def _one_of(value: str | None, choices: Any, option: str) -> Any:
    if value is not None and value not in get_args(choices):
        raise ValueError(f"{option} {value}: give one of {', '.join(get_args(choices))}")
    return value
