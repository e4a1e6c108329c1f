"""Evaluate: a model on any data, or two models row by row."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sweeps.ui.context import Ui
from sweeps.ui.model_choices import chosen_model
from sweeps.ui.model_commands import Prepared, Values, command_page, options_in, start_command
from sweeps.ui.rendering import translator
from sweeps.ui.typed_paths import data_source, folder_to_read, folder_to_write, template_source

ROWS = ("data", "part", "kind", "rows", "seed", "cutoff", "batch_size", "characters", "by")
ANSWERS = ("generate", "max_new_tokens", "temperature", "top_p", "top_k", "scorer")
FURTHER = ("forgetting", "benchmark", "benchmark_folder", "benchmark_rows", "shots", "chat")
OUTPUT = ("output", "force", "template", "trust")


def routes() -> list[Route]:
    return [Route("/evaluate", show), Route("/evaluate", start, methods=["POST"])]


async def show(request: Request) -> Response:
    groups = {"rows": ROWS, "answers": ANSWERS, "further": FURTHER, "output": OUTPUT}
    title = translator(request)("evaluate.title")
    return command_page(request, "evaluate", title, groups, ("jobs", "evaluate", "export", "run"))


async def start(request: Request) -> Response:
    return await start_command(request, "evaluate", _prepare)


def _prepare(ui: Ui, values: Values) -> Prepared:
    chosen = [values.get("model"), *([values["other"]] if values.get("other") else [])]
    models, options = [chosen_model(ui, each) for each in chosen], options_in(values)
    for name in ("data", "forgetting"):
        if options.get(name):
            options[name] = data_source(ui, str(options[name]))
    if options.get("benchmark_folder"):
        options["benchmark_folder"] = str(folder_to_read(ui, str(options["benchmark_folder"])))
    if options.get("template"):
        options["template"] = template_source(ui, str(options["template"]))
    if options.get("output"):
        options["output"] = str(folder_to_write(ui, str(options["output"])))
    title = " – ".join(each.label for each in models)
    return Prepared(options, [each.argument for each in models], title)
