"""The options of ``paretune chat``. Only typer is imported up here: the command line has this whenever it starts."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from sweeps.commands.errors import users_errors
from sweeps.commands.model_options import ResultsArgument, TemplateOption, TrustOption, speakers

if TYPE_CHECKING:
    from sweeps.runs.artifacts import Answers


def add(app: typer.Typer, answers: Answers) -> None:
    """Adds the command to an app."""

    @app.command()
    def chat(
        results: ResultsArgument,
        system: Annotated[str | None, typer.Option(help="What the models are told first.")] = None,
        temperature: Annotated[
            float, typer.Option(help="0 takes the likeliest token, each time the same.")
        ] = 0.0,
        top_p: Annotated[float, typer.Option(help="Draw among the likeliest that make up this share.")] = 1.0,
        max_new_tokens: Annotated[int, typer.Option(help="Of an answer.")] = 512,
        seed: Annotated[int | None, typer.Option(help="Draw the same again.")] = None,
        template: TemplateOption = None,
        trust: TrustOption = None,
    ) -> None:
        """Talk to a result, or to several side by side that answer the same.

        /help says what can be typed; lines from a pipe are answered one after the other.
        """
        with users_errors(ValueError):
            found = speakers(results, answers, template, trust)  # first of all: it quiets the libraries
            from sweeps.console import chat as chats
            from trainables.inference.model_pool import ModelPool

            pool = ModelPool()  # adapters of one base beside one another on it
            loaded = [pool.load(result) for result in found]
            sampling = chats.Sampling(max_new_tokens, temperature, top_p, seed=seed)
            talk = chats.Talk(loaded, sampling, system)
            typed = sys.stdin.isatty()
            page = chats.Columns() if sys.stdout.isatty() and len(loaded) > 1 else chats.Page()
            chats.run(talk, chats.typed() if typed else sys.stdin, page)
