"""``paretune serve``. Only typer is imported at the top: the command line imports this whenever it starts."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sweeps.commands.common_options import USE
from sweeps.commands.errors import sigterm_like_ctrl_c, users_errors
from sweeps.commands.model_options import RESULT_HELP, TemplateOption, TrustOption, served_results

if TYPE_CHECKING:
    from sweeps.runs.artifacts import BestTrials


def add(app: typer.Typer, best_trials: BestTrials) -> None:
    """Adds the command to an app."""

    @app.command(rich_help_panel=USE)
    def serve(
        results: Annotated[
            list[str],
            typer.Argument(
                metavar="[NAME=]RESULT...",
                help=f"{RESULT_HELP} NAME is the name of the model in requests; by default RESULT.",
            ),
        ],
        host: Annotated[
            str, typer.Option(help="Address to listen on; anything but loopback requires an API key.")
        ] = "127.0.0.1",
        port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 8000,
        api_key_file: Annotated[
            Path | None,
            typer.Option(
                help="File that contains the API key. By default the environment variable PARETUNE_API_KEY is used."
            ),
        ] = None,
        replicas: Annotated[
            int, typer.Option(min=1, help="Number of replicas, each with all models in its memory.")
        ] = 1,
        address: Annotated[
            str | None,
            typer.Option(
                help="Ray cluster to serve on: auto, or HOST:PORT. By default the models are served on this machine."
            ),
        ] = None,
        replace: Annotated[
            bool, typer.Option("--replace", help="Stop what Paretune already serves on the cluster.")
        ] = False,
        cpus: Annotated[int, typer.Option(min=1, help="Number of CPUs per replica.")] = 1,
        gpus: Annotated[
            float, typer.Option(min=0, help="Number of GPUs per replica; may be a fraction.")
        ] = 0,
        most: Annotated[
            int,
            typer.Option(min=1, help="Maximum number of answers that a replica generates at the same time."),
        ] = 32,
        waiting: Annotated[
            int,
            typer.Option(
                min=0, help="Maximum number of answers waiting per replica; beyond it, requests are refused."
            ),
        ] = 128,
        max_new_tokens: Annotated[
            int, typer.Option(min=1, help="Maximum number of new tokens per answer.")
        ] = 1024,
        template: TemplateOption = None,
        trust: TrustOption = None,
    ) -> None:
        """Serve models over HTTP with an API that OpenAI's clients understand, streaming included.

        Offers chat completions and completions, and of classifiers their labels (/v1/classify), on this machine only
        unless --host says otherwise.
        Ctrl-C stops the server after the requests in progress are answered.
        """
        import os

        from sweeps.cluster.private_folder import private_temporary_files
        from sweeps.serving import server
        from sweeps.serving.options import ServeOptions, model_names, portable_name, read_key

        # SIGTERM while the server starts leaves no process behind either.
        with users_errors(ValueError), sigterm_like_ctrl_c(), private_temporary_files():
            named = model_names(results)
            # Removed from the environment, which the processes that Ray starts would inherit.
            key = read_key(api_key_file, os.environ.pop("PARETUNE_API_KEY", None))
            options = ServeOptions(host, port, replicas, cpus, gpus, address, replace)
            options.require_key(key)
            found = served_results([text for _, text in named], best_trials, template, trust)
            from sweeps.serving.access import Access
            from sweeps.serving.replica import ReplicaConfig

            texts = [portable_name(text, result) for (_, text), result in zip(named, found, strict=True)]
            models = tuple((name, text) for (name, _), text in zip(named, texts, strict=True))
            trusted = tuple(trust or ())
            access = Access(key, options.needs_loopback_names(key))
            replica = ReplicaConfig(models, access, most, waiting, max_new_tokens, cpus, template, trusted)
            server.run(replica, options, lambda text: print(text, file=sys.stderr, flush=True))
