"""``paretune chat``. Only typer is imported at the top: the command line imports this whenever it starts."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from sweeps.commands.common_options import USE
from sweeps.commands.errors import WRONG, users_errors
from sweeps.commands.model_options import RESULT_HELP, TemplateOption, TrustOption, text_generators

if TYPE_CHECKING:
    from sweeps.runs.artifacts import BestTrials
    from trainables.inference.result import Result
    from trainables.inference.sampling import Sampling

ChatResultsArgument = Annotated[
    list[str] | None,
    typer.Argument(metavar="RESULT...", help=f"{RESULT_HELP} With --json, requests may load them."),
]


def add(app: typer.Typer, best_trials: BestTrials) -> None:
    """Adds the command to an app."""

    @app.command(rich_help_panel=USE)
    def chat(
        results: ChatResultsArgument = None,
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
        as_json: Annotated[
            bool,
            typer.Option(
                "--json", help="Read requests and print events as lines of JSON, for other programs."
            ),
        ] = False,
    ) -> None:
        """Chat with one model, or with several that answer side by side.

        /help lists the commands of the chat. Each line from a pipe is a conversation of its own; for a prompt of
        several lines it may be JSON: {"prompt": "..."}, or {"messages": [...]}.
        """
        from sweeps.cluster.private_folder import private_temporary_files

        with users_errors(ValueError), private_temporary_files():
            if not results and not as_json:
                raise ValueError("give at least one RESULT, such as runs/methods or smollm2-135m")
            if as_json:
                from trainables.inference.sampling import Sampling

                defaults = Sampling(max_new_tokens, temperature, top_p, seed=seed)
                raise typer.Exit(_serve_json(results or [], best_trials, template, trust, defaults, system))
            found = text_generators(results or [], best_trials, template, trust)
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


def _serve_json(
    results: Sequence[str],
    best_trials: BestTrials,
    template: str | None,
    trust: Sequence[str] | None,
    sampling: Sampling,
    system: str | None,
) -> int:
    """Answers requests from standard input; 2 if none of the named models could be loaded."""
    from sweeps.commands.json_events import event_output
    from sweeps.console.chat_protocol.loaded_models import ChatModels
    from sweeps.console.chat_protocol.service import ChatService, serve

    def resolved(name: str) -> Result:
        return text_generators([name], best_trials, template, trust)[0]

    with event_output() as emit:
        service = ChatService(ChatModels(resolved), sampling, system, emit)
        return 0 if serve(service, results, sys.stdin) or not results else WRONG
