"""``paretune chat``. Only typer is imported at the top: the command line imports this whenever it starts."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from sweeps.commands.common_options import USE
from sweeps.commands.errors import users_errors
from sweeps.commands.model_options import ResultsArgument, TemplateOption, TrustOption, text_generators

if TYPE_CHECKING:
    from sweeps.runs.artifacts import BestTrials


def add(app: typer.Typer, best_trials: BestTrials) -> None:
    """Adds the command to an app."""

    @app.command(rich_help_panel=USE)
    def chat(
        results: ResultsArgument,
        system: Annotated[
            str | None, typer.Option(help="System message at the beginning of the conversation.")
        ] = None,
        temperature: Annotated[
            float,
            typer.Option(help="Sampling temperature; 0 always takes the most likely token."),
        ] = 0.0,
        top_p: Annotated[
            float,
            typer.Option(help="Sample only from the most likely tokens whose probabilities add up to this."),
        ] = 1.0,
        max_new_tokens: Annotated[int, typer.Option(help="Maximum number of new tokens per answer.")] = 512,
        seed: Annotated[
            int | None, typer.Option(help="Seed of the sampling; the same seed gives the same answers.")
        ] = None,
        history: Annotated[
            bool,
            typer.Option(
                "--history", help="Answer the lines of a pipe as messages of one conversation, not one each."
            ),
        ] = False,
        template: TemplateOption = None,
        trust: TrustOption = None,
    ) -> None:
        """Chat with one model, or with several that answer side by side.

        /help lists the commands of the chat. Each line from a pipe is a conversation of its own; for a prompt of
        several lines it may be JSON: {"prompt": "..."}, or {"messages": [...]}.
        """
        from sweeps.cluster.private_folder import private_temporary_files

        with users_errors(ValueError), private_temporary_files():
            found = text_generators(results, best_trials, template, trust)
            from sweeps.console import chat as console_chat
            from trainables.inference.model_pool import ModelPool

            pool = ModelPool()  # loads a base model once, however many adapters share it
            models = [pool.load(result) for result in found]
            sampling = console_chat.Sampling(max_new_tokens, temperature, top_p, seed=seed)
            session = console_chat.ChatSession(models, sampling, system)
            side_by_side = sys.stdout.isatty() and len(models) > 1
            output = console_chat.ColumnOutput() if side_by_side else console_chat.ChatOutput()
            typed = sys.stdin.isatty()
            lines = console_chat.typed_lines() if typed else sys.stdin
            console_chat.run(session, lines, output, piped=not typed, history=typed or history)
