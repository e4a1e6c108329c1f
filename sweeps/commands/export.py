"""The options of ``paretune export``. Only typer is imported up here: the command line has this whenever it starts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sweeps.commands.errors import ended_like_by_ctrl_c, users_errors
from sweeps.commands.model_options import ResultArgument, TrustOption
from sweeps.commands.optional_value import Command

if TYPE_CHECKING:
    from sweeps.evaluation.significance import Statistics
    from sweeps.runs.artifacts import Answers


def add(app: typer.Typer, answers: Answers, statistics: Callable[[], Statistics]) -> None:
    """Adds the command to an app."""

    @app.command(cls=Command)
    def export(
        result: ResultArgument,
        out: Annotated[Path, typer.Argument(metavar="OUT", help="The folder that is made.")],
        adapter: Annotated[
            bool, typer.Option("--adapter", help="The adapter alone; else it is merged into its unquantized base.")
        ] = False,
        dtype: Annotated[
            str | None, typer.Option(help="bfloat16, float16 or float32; as the trial left it by default.")
        ] = None,
        shard_size: Annotated[str, typer.Option(help="The most that one file of weights holds.")] = "5GB",
        verify: Annotated[
            bool, typer.Option("--verify/--no-verify", help="Compare what was written with what it was made of.")
        ] = True,
        force: Annotated[
            bool, typer.Option("--force", help="Replace OUT once the new one is whole, if all it holds is a model.")
        ] = False,
        gguf: Annotated[
            str | None,
            typer.Option(
                "--gguf", metavar="[TYPE]", help="GGUF too, by llama.cpp's converter: f16 (if not said), bf16, q8_0.",
            ),
        ] = None,
        llama_cpp: Annotated[
            Path | None,
            typer.Option("--llama-cpp", metavar="DIR", help="Where llama.cpp is; else $LLAMA_CPP, or PATH."),
        ] = None,
        ollama: Annotated[bool, typer.Option("--ollama", help="A Modelfile for Ollama as well.")] = False,
        push: Annotated[
            str | None, typer.Option(metavar="ORG/NAME", help="Upload it to the Hugging Face hub, as a private model.")
        ] = None,
        public: Annotated[bool, typer.Option("--public", help="With --push: for everybody to see.")] = False,
        trust: TrustOption = None,
    ) -> None:  # fmt: skip
        """Take a result away: merged weights that plain transformers loads, checked, with a card. Prints the folder."""
        from sweeps.console import export as console_export

        asked = console_export.Asked(
            result, out, adapter, dtype, shard_size, verify, force, gguf, llama_cpp, ollama, push, public, trust or ()
        )  # fmt: skip
        with users_errors(FileNotFoundError), ended_like_by_ctrl_c():
            code = console_export.export(asked, answers, statistics().wilson)
        raise typer.Exit(code)
