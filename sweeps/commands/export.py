"""``paretune export``. Only typer is imported at the top: the command line imports this whenever it starts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sweeps.commands.common_options import USE, EventsOption
from sweeps.commands.errors import sigterm_like_ctrl_c, users_errors
from sweeps.commands.model_options import ResultArgument, TrustOption
from sweeps.commands.optional_value import OptionalValueCommand

if TYPE_CHECKING:
    from sweeps.evaluation.significance import Statistics
    from sweeps.runs.artifacts import BestTrials


def add(app: typer.Typer, best_trials: BestTrials, statistics: Callable[[], Statistics]) -> None:
    """Adds the command to an app."""

    @app.command(cls=OptionalValueCommand, rich_help_panel=USE)
    def export(
        result: ResultArgument,
        out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder to create for the exported model.")],
        adapter: Annotated[
            bool,
            typer.Option(
                "--adapter",
                help="Export the adapter only. By default it is merged into its unquantized base model.",
            ),
        ] = False,
        dtype: Annotated[
            str | None,
            typer.Option(
                help="Data type of the weights: bfloat16, float16 or float32. By default that of the trained model."
            ),
        ] = None,
        shard_size: Annotated[str, typer.Option(help="Maximum size of one file of weights.")] = "5GB",
        verify: Annotated[
            bool,
            typer.Option(
                "--verify/--no-verify",
                help="Load the exported model and compare its outputs with those of the trained one.",
            ),
        ] = True,
        force: Annotated[
            bool,
            typer.Option(
                "--force",
                help="Replace OUT if it contains nothing but a model; the old one stays until the new one is complete.",
            ),
        ] = False,
        gguf: Annotated[
            str | None,
            typer.Option(
                "--gguf",
                metavar="[TYPE]",
                help="Also write a GGUF file with llama.cpp's converter: f16 (the default), bf16, q8_0, ...",
            ),
        ] = None,
        llama_cpp: Annotated[
            Path | None,
            typer.Option(
                "--llama-cpp",
                metavar="DIR",
                help="Folder of llama.cpp. By default that in $LLAMA_CPP, or the converter on the PATH.",
            ),
        ] = None,
        ollama: Annotated[bool, typer.Option("--ollama", help="Also write a Modelfile for Ollama.")] = False,
        push: Annotated[
            str | None,
            typer.Option(
                metavar="ORG/NAME", help="Upload the export to the Hugging Face hub, as a private model."
            ),
        ] = None,
        public: Annotated[
            bool, typer.Option("--public", help="Make the model that --push uploads public.")
        ] = False,
        trust: TrustOption = None,
        as_json: EventsOption = None,
    ) -> None:
        """Export a trained model: merged weights that transformers loads, verified, with a model card.

        Prints the folder last.
        """
        from sweeps.console import export as console_export

        request = console_export.ExportRequest(
            result=result,
            out=out,
            adapter=adapter,
            dtype=dtype,
            shard_size=shard_size,
            verify=verify,
            force=force,
            gguf=gguf,
            llama_cpp=llama_cpp,
            ollama=ollama,
            push=push,
            public=public,
            trust=trust or (),
        )
        from sweeps.cluster.private_folder import private_temporary_files
        from sweeps.commands.json_events import command_events

        with (
            users_errors(FileNotFoundError),
            private_temporary_files(),
            sigterm_like_ctrl_c(),
            command_events(as_json, FileNotFoundError) as events,
        ):
            code = console_export.export(request, best_trials, statistics().wilson, events)
        raise typer.Exit(code)
