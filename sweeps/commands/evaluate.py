"""``paretune evaluate``: its options, and the request that they make.

Only typer is imported at the top: the command line imports this whenever it starts.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from sweeps.commands.common_options import USE, EventsOption
from sweeps.commands.errors import users_errors
from sweeps.commands.model_options import ResultArgument, TemplateOption, TrustOption

if TYPE_CHECKING:
    from sweeps.evaluation.request import EvaluationRequest
    from sweeps.evaluation.significance import Statistics
    from sweeps.runs.artifacts import BestTrials
    from trainables.evaluation.lm_eval import Benchmarks
    from trainables.inference.sampling import Sampling


def add(app: typer.Typer, best_trials: BestTrials, statistics: Callable[[], Statistics]) -> None:
    """Adds the command to an app."""

    @app.command(rich_help_panel=USE)
    def evaluate(
        result: ResultArgument,
        other: Annotated[
            str | None,
            typer.Argument(metavar="[OTHER]", help="Second model, compared with the first one row by row."),
        ] = None,
        data: Annotated[
            str | None,
            typer.Option(
                help="Data to evaluate on, all rows of it: a file, a folder, a pattern, a data set of a hub, or a "
                "shipped one. By default the rows that the trial held out."
            ),
        ] = None,
        part: Annotated[
            str | None,
            typer.Option(help="Rows of the trial's own data to use: test (the default) or validation."),
        ] = None,
        kind: Annotated[
            str | None,
            typer.Option(
                "--as",
                help="Kind of the rows: answers, pairs, text, labels, prompts or classes. Detected from the data by "
                "default.",
            ),
        ] = None,
        rows: Annotated[
            int | None,
            typer.Option(min=1, help="Number of rows to evaluate, drawn at random. By default all."),
        ] = None,
        seed: Annotated[int, typer.Option(min=0, help="Seed for drawing rows and for sampling answers.")] = 0,
        characters: Annotated[
            bool | None,
            typer.Option(
                "--characters/--words",
                help="Compare texts by characters or by words. By default chosen by their script.",
            ),
        ] = None,
        generate: Annotated[
            bool,
            typer.Option(
                "--generate/--no-generate", help="Generate answers, or measure by log-likelihood only."
            ),
        ] = True,
        scorer: Annotated[
            str | None,
            typer.Option(
                metavar="MODULE:FUNCTION",
                help="Your own score of an answer: function(messages, reference, answer) returns a number.",
            ),
        ] = None,
        temperature: Annotated[
            float | None,
            typer.Option(
                help="Sampling temperature. By default, and at 0, the most likely tokens are taken."
            ),
        ] = None,
        top_p: Annotated[
            float | None,
            typer.Option(help="Sample only from the most likely tokens whose probabilities add up to this."),
        ] = None,
        top_k: Annotated[
            int | None, typer.Option(help="Sample only from this number of most likely tokens.")
        ] = None,
        max_new_tokens: Annotated[
            int | None,
            typer.Option(
                min=1,
                help="Maximum number of new tokens per answer. By default a little more than the longest reference.",
            ),
        ] = None,
        batch_size: Annotated[
            int | None,
            typer.Option(
                min=1, help="Number of rows per batch. By default as in the trial's own evaluation."
            ),
        ] = None,
        cutoff: Annotated[
            int | None,
            typer.Option(min=8, help="Maximum number of tokens per row. By default that of the trial."),
        ] = None,
        by: Annotated[
            str | None,
            typer.Option(
                metavar="MEASURE",
                help="Measure that decides which of two models is better: loss, rougeL, ...",
            ),
        ] = None,
        forgetting: Annotated[
            str | None,
            typer.Option(
                metavar="TEXT",
                help="Text file or data set of what the model should not forget: shows its loss before and after "
                "training.",
            ),
        ] = None,
        benchmark: Annotated[
            list[str] | None,
            typer.Option(metavar="TASK", help="Task of lm-evaluation-harness to run. May be repeated."),
        ] = None,
        benchmark_folder: Annotated[
            Path | None,
            typer.Option(exists=True, file_okay=False, help="Folder with your own tasks as YAML files."),
        ] = None,
        benchmark_rows: Annotated[
            int | None, typer.Option(min=1, help="Number of rows per task, the first ones. By default all.")
        ] = None,
        shots: Annotated[
            int | None,
            typer.Option(
                min=0,
                help="Number of solved examples in the prompt of a task (few-shot). By default the task's own.",
            ),
        ] = None,
        chat: Annotated[
            bool, typer.Option("--chat", help="Apply the chat template to the prompts of tasks.")
        ] = False,
        template: TemplateOption = None,
        trust: TrustOption = None,
        output: Annotated[
            Path | None,
            typer.Option(
                help="Folder for the evaluation. By default a new one in evaluations/, named for its input."
            ),
        ] = None,
        force: Annotated[
            bool, typer.Option("--force", help="Replace an existing evaluation in the same folder.")
        ] = False,
        as_json: EventsOption = None,
    ) -> None:
        """Evaluate a model on any data, or compare two models row by row.

        Without --data, --forgetting and --benchmark, the trial's own test rows are used, as they were in the trial.
        Prints the folder with the results last.
        """

        def request() -> EvaluationRequest:
            from sweeps.evaluation.request import EvaluationRequest
            from trainables.evaluation.evaluate import Settings
            from trainables.evaluation.evaluation_rows import Kind, Part
            from trainables.scoring.custom_scorer import Scorer

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

        _evaluate(request, best_trials, statistics, as_json)


def _evaluate(
    request: Callable[[], EvaluationRequest],
    best_trials: BestTrials,
    statistics: Callable[[], Statistics],
    as_json: bool | None,
) -> None:
    from sweeps.cluster.private_folder import private_temporary_files
    from sweeps.commands.json_events import command_events

    mistakes = ValueError, FileNotFoundError
    with users_errors(*mistakes), private_temporary_files(), command_events(as_json, *mistakes) as events:
        from sweeps.evaluation import evaluate as evaluation

        def warn(message: str) -> None:
            print("warning:", message, file=sys.stderr)
            if events is not None:
                events.warning(message)

        folder, findings = evaluation.evaluate(request(), best_trials, statistics(), warn)
        if events is not None:
            events.result({"folder": str(folder), **findings})
            return
    from sweeps.console.guarded_console import GuardedConsole
    from sweeps.evaluation.output import WIDTH, evaluation_output

    console = GuardedConsole(width=None if sys.stdout.isatty() else WIDTH)
    for part in evaluation_output(findings):
        typer.echo(part) if isinstance(part, str) else console.print(part)
    typer.echo(folder)


def _sampling(
    temperature: float | None, top_p: float | None, top_k: int | None, seed: int
) -> Sampling | None:
    """The sampling, at temperature 1 unless it is given; ``None`` for greedy decoding."""
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
    rows: int | None,
    chat: bool,
    seed: int,
) -> Benchmarks | None:
    from trainables.evaluation.lm_eval import Benchmarks

    if not tasks:
        if folder or shots is not None or rows or chat:
            raise ValueError(
                "--benchmark-folder, --benchmark-rows, --shots and --chat need a --benchmark TASK"
            )
        return None
    named = tuple(task for each in tasks for task in each.split(",") if task)
    return Benchmarks(named, folder, shots, rows, chat, seed)


def _one_of(value: str | None, choices: Any, option: str) -> Any:
    if value is not None and value not in get_args(choices):
        raise ValueError(f"{option} {value}: give one of {', '.join(get_args(choices))}")
    return value
