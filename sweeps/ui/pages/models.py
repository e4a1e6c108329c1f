"""Which models there are to choose from, for the pages that use one."""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sweeps.ui.context import ui_of
from sweeps.ui.model_choices import WrongChoice, models_of_run, offered_models
from sweeps.ui.refusal import refused


def routes() -> list[Route]:
    return [Route("/models", models), Route("/models/{run}", of_run)]


async def models(request: Request) -> Response:
    return JSONResponse(await asyncio.to_thread(offered_models, ui_of(request)))


async def of_run(request: Request) -> Response:
    try:
        found = await asyncio.to_thread(models_of_run, ui_of(request), request.path_params["run"])
    except WrongChoice as error:
        return refused(404, "model", str(error))
    return JSONResponse(found)
