"""Export: a trained model as a folder that other programs load, with what to do with it."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sweeps.ui.command_form import WrongValue
from sweeps.ui.context import Ui
from sweeps.ui.model_choices import chosen_model
from sweeps.ui.model_commands import Prepared, Values, command_page, options_in, start_command
from sweeps.ui.rendering import translator
from sweeps.ui.typed_paths import folder_to_read, folder_to_write

# Options that a reader meets first; the others are below.
FIRST = ("adapter", "dtype", "verify", "force")
FILES = ("gguf", "ollama", "llama_cpp", "shard_size")
HUB = ("push", "public", "trust")


def routes() -> list[Route]:
    return [Route("/export", show), Route("/export", start, methods=["POST"])]


async def show(request: Request) -> Response:
    groups = {"first": FIRST, "files": FILES, "hub": HUB}
    title = translator(request)("export.title")
    return command_page(request, "export", title, groups, ("jobs", "export", "evaluate", "run"))


async def start(request: Request) -> Response:
    return await start_command(request, "export", _prepare)


def _prepare(ui: Ui, values: Values) -> Prepared:
    model, out, options = chosen_model(ui, values.get("model")), values.get("out"), options_in(values)
    if not isinstance(out, str) or not out.strip():
        raise WrongValue("out", "give a folder to create")
    folder = folder_to_write(ui, out)
    if converter := options.get("llama_cpp"):
        options["llama_cpp"] = str(folder_to_read(ui, str(converter)))
    return Prepared(options, [model.argument, str(folder)], f"{model.label} → {out.strip()}")
