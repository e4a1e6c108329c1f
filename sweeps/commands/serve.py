"""The options of ``paretune serve``. Only typer is imported up here: the command line has this whenever it starts."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sweeps.commands.errors import sigterm_like_ctrl_c, users_errors
from sweeps.commands.model_options import TemplateOption, TrustOption, speakers

if TYPE_CHECKING:
    from sweeps.runs.artifacts import Answers


def add(app: typer.Typer, answers: Answers) -> None:
    """Adds the command to an app."""

    @app.command()
    def serve(
        results: Annotated[
            list[str],
            typer.Argument(metavar="[NAME=]RESULT...", help="As for chat; NAME is for requests."),
        ],
        host: Annotated[str, typer.Option(help="Others than this machine need a key.")] = "127.0.0.1",
        port: Annotated[int, typer.Option(min=1, max=65535)] = 8000,
        api_key_file: Annotated[
            Path | None, typer.Option(help="Holds the key; else PARETUNE_API_KEY does.")
        ] = None,
        replicas: Annotated[int, typer.Option(min=1, help="Each has the models in memory.")] = 1,
        address: Annotated[str | None, typer.Option(help="A Ray cluster: auto, or HOST:PORT.")] = None,
        replace: Annotated[
            bool, typer.Option("--replace", help="End what Paretune serves on the cluster already.")
        ] = False,
        cpus: Annotated[int, typer.Option(min=1, help="Of a replica.")] = 1,
        gpus: Annotated[float, typer.Option(min=0, help="Of a replica; a share of one will do.")] = 0,
        most: Annotated[
            int, typer.Option(min=1, help="Answers of a replica that are generated at a time.")
        ] = 32,
        waiting: Annotated[
            int, typer.Option(min=0, help="Answers that may wait; then requests are refused.")
        ] = 128,
        max_new_tokens: Annotated[int, typer.Option(min=1, help="Of an answer, at most.")] = 1024,
        template: TemplateOption = None,
        trust: TrustOption = None,
    ) -> None:
        """Put results behind an API that OpenAI's clients speak: chat completions, completions, streaming.

        Listens on this machine alone unless --host says otherwise. Ctrl-C ends it once what is under way is answered.
        """
        import os

        from sweeps.serving import server
        from sweeps.serving.options import ServeOptions, model_names, portable_name, read_key

        # Being told to end while it starts leaves nothing behind either.
        with users_errors(ValueError), sigterm_like_ctrl_c():
            named = model_names(results)
            key = read_key(api_key_file, os.environ.pop("PARETUNE_API_KEY", None))
            where = ServeOptions(host, port, replicas, cpus, gpus, address, replace)
            where.require_key(key)
            found = speakers([text for _, text in named], answers, template, trust)
            from sweeps.serving.replica import ReplicaConfig

            texts = [portable_name(text, result) for (_, text), result in zip(named, found, strict=True)]
            models = tuple((name, text) for (name, _), text in zip(named, texts, strict=True))
            allowed = tuple(trust or ())
            served = ReplicaConfig(models, key, most, waiting, max_new_tokens, cpus, template, allowed)
            server.run(served, where, lambda text: print(text, file=sys.stderr, flush=True))
