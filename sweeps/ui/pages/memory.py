"""Memory: what each method needs on a model, for batch sizes and lengths, with nothing downloaded."""

from __future__ import annotations

import asyncio
import shlex
from pathlib import Path

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sweeps.ui.children.command_line import WrongArgument
from sweeps.ui.children.short_commands import REPLACED
from sweeps.ui.context import ui_of
from sweeps.ui.drafts.checking import failure
from sweeps.ui.drafts.memory_grid import MAX_NUMBERS, SECONDS, GridRequest, keep_config, numbers
from sweeps.ui.refusal import refused
from sweeps.ui.rendering import page, translator
from sweeps.ui.request_body import read_json
from trainables.config import limits
from trainables.models.catalog import CATALOG, PACKAGED
from trainables.models.folder import ModelError


def routes() -> list[Route]:
    return [Route("/memory", memory), Route("/memory/grid", grid, methods=["POST"])]


async def memory(request: Request) -> Response:
    title = translator(request)("memory.title")
    models = [*CATALOG, *PACKAGED]
    return page(
        request,
        "memory.html",
        title=title,
        active="memory",
        words=("memory",),
        models=models,
        most=MAX_NUMBERS,
    )


async def grid(request: Request) -> Response:
    """The predicted memory of all methods. The model is a name, or the text of a ``config.json``."""
    ui, body, t = ui_of(request), await read_json(request), translator(request)
    try:
        batches, lengths = (
            numbers(body.get("batches"), limits.BATCH),
            numbers(body.get("lengths"), limits.TOKENS),
        )
    except ValueError:
        return refused(400, "numbers", t("memory.wrong_numbers", count=MAX_NUMBERS))
    try:
        asked = GridRequest(await asyncio.to_thread(_model, body), batches, lengths)
        argv = asked.argv
    except (ModelError, WrongArgument) as error:
        return refused(400, "model", str(error))
    completed = await ui.jobs.run_json(
        argv, cwd=ui.settings.data_folder, timeout=SECONDS, replaces=f"grid:{body.get('who')}"
    )
    if completed.ended == REPLACED:
        return JSONResponse({REPLACED: True})
    if not isinstance(completed.value, list):
        return refused(400, "model", failure(completed))
    return JSONResponse({"rows": completed.value, "command": shlex.join(["paretune", *argv])})


def _model(body: dict[str, object]) -> str:
    """The model of a request. A path is not taken: files are pasted. Raises ``ModelError``."""
    if isinstance(config := body.get("config"), str) and config.strip():
        return str(keep_config(config))
    name = str(body.get("model") or "").strip()
    if name.startswith(("/", ".", "~")) or Path(name).suffix == ".json" or name.count("/") > 1:
        raise ModelError(f"{name} is a path; paste the model's config.json in place of it")
    return name
