"""What the buttons of a run do. Each answers with its command line first, and starts exactly that once asked to."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sweeps.ui import run_commands
from sweeps.ui.children.command_line import WrongArgument
from sweeps.ui.context import ui_of
from sweeps.ui.pages.run_lookup import read_run, trial_id
from sweeps.ui.refusal import refused
from sweeps.ui.rendering import translator
from sweeps.ui.request_body import read_json
from sweeps.ui.resume_command import Resumed
from sweeps.ui.run_commands import RunCommand
from sweeps.ui.snapshots.followed import Followed

MAX_CHANGES = 200
OF_TRIAL = ("stop-trial", "add")


def routes() -> list[Route]:
    return [Route("/runs/{key}/actions/{action}", act, methods=["POST"])]


async def act(request: Request) -> Response:
    """``{"start": false}`` answers ``{"command": ...}``; ``{"start": true}`` starts it as a job, ``{"url": ...}``."""
    found, body = await read_run(request), await read_json(request)
    of_trial = request.path_params["action"] in OF_TRIAL
    trial = await trial_id(request, found, str(body.get("trial"))) if of_trial else ""
    try:
        command = await asyncio.to_thread(_command, request, found, body, trial)
    except WrongArgument as error:
        return refused(400, "argument", str(error))
    if body.get("start") is not True:
        return JSONResponse({"ok": True, "command": command.text})
    ui = ui_of(request)
    title = f"{command.argv[0]} {found.entry.name}"
    job = await asyncio.to_thread(
        lambda: ui.jobs.start(command.kind, list(command.argv), command.cwd, title=title, run=found.entry.key)
    )
    url = f"{ui.settings.root_path}/jobs/{job.id}"
    return JSONResponse({"ok": True, "command": command.text, "job": job.id, "url": url})


def _command(request: Request, found: Followed, body: dict[str, Any], trial: str) -> RunCommand:
    location, cwd = found.entry.location, ui_of(request).settings.data_folder.absolute()
    assert found.reader is not None
    match request.path_params["action"]:
        case "stop":
            return run_commands.stop(location, cwd)
        case "resume":
            ui, reader = ui_of(request), found.reader
            resumed = Resumed(location, reader.environment, reader.folder, cwd, ui.roots, ui.settings.address)
            return resumed.command()
        case "report":
            return run_commands.report(location, cwd)
        case "stop-trial":
            return run_commands.stop_trial(location, trial, cwd)
        case "add":
            return run_commands.add_trial(location, trial, _sets(body), cwd)
    raise HTTPException(404, translator(request)("run.no_action"))


def _sets(body: dict[str, Any]) -> list[str]:
    sets = body.get("sets")
    if (
        not isinstance(sets, list)
        or not all(isinstance(each, str) for each in sets)
        or len(sets) > MAX_CHANGES
    ):
        raise WrongArgument("the changed settings are no list of texts")
    return sets
