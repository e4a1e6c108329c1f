"""New sweep: where a draft begins, and its page with form, text, check, preview and start."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sweeps.runs.layout import read_environment
from sweeps.ui.children.command_line import WrongArgument
from sweeps.ui.context import Ui, ui_of
from sweeps.ui.drafts import origins
from sweeps.ui.drafts.availability import Availability, NoReport
from sweeps.ui.drafts.checking import failure
from sweeps.ui.drafts.data_files import new_data_file, offered_data
from sweeps.ui.drafts.data_upload import DATA_BYTES, stream_to_file
from sweeps.ui.drafts.origins import InitRequest, NewText
from sweeps.ui.drafts.store import Draft, DraftStore, TooLong
from sweeps.ui.pages import draft_page
from sweeps.ui.pages.run_lookup import READ_SECONDS
from sweeps.ui.refusal import refused
from sweeps.ui.rendering import page, translator
from sweeps.ui.request_body import read_json, read_limited
from sweeps.ui.resume_command import Resumed
from sweeps.ui.roots import below
from trainables.models.catalog import CATALOG, PACKAGED
from trainables.storage.damaged_files import DamagedFile
from trainables.storage.regular_files import require_own

INIT_SECONDS = 600.0


def routes() -> list[Route]:
    return [
        Route("/new", new),
        Route("/new", create, methods=["POST"]),
        Route("/new/upload", upload, methods=["POST"]),
        Route("/new/fields", fields),
        Route("/new/data", data),
        Route("/new/data", add_data, methods=["POST"]),
        Route("/new/unavailable", unavailable),
        *draft_page.routes(),
    ]


async def new(request: Request) -> Response:
    """What a draft can begin with, and the drafts that there are."""
    from sweeps.ui.drafts.fields import form_fields  # takes a second: the UI is ready before

    ui = ui_of(request)
    drafts, runs = await asyncio.to_thread(lambda: (DraftStore.at_home().list(), ui.runs.entries()))
    return page(
        request,
        "new.html",
        title=translator(request)("new.title"),
        active="new",
        words=("new",),
        specs=origins.shipped_questions(),
        drafts=drafts,
        runs=runs,
        models=[*PACKAGED, *CATALOG],
        stages=list(form_fields()["entries"]["stages"]),
        data_folder=str(ui.settings.data_folder),
    )


async def create(request: Request) -> Response:
    """A draft from a shipped spec, a run, a data file, or nothing."""
    ui, body = ui_of(request), await read_json(request)
    name = str(body.get("name") or "")
    made: NewText | None = None
    match body.get("from"):
        case "spec":
            made = origins.shipped(name)
        case "run":
            try:
                made = await asyncio.to_thread(_run_spec, ui, name)
            except WrongArgument as error:
                return refused(400, "code", str(error))
        case "empty":
            made = NewText(origins.EMPTY, "sweep", "")
        case "data":
            return await _from_data(ui, body)
    if made is None:
        return refused(404, "unknown", translator(request)("new.unknown_origin"))
    return await _created(made)


async def upload(request: Request) -> Response:
    """A draft from an uploaded YAML file."""
    content = await read_limited(request, origins.UPLOAD_BYTES)
    try:
        return await _created(origins.uploaded(content, request.query_params.get("name", "sweep.yaml")))
    except ValueError as error:
        return refused(400, "no_text", str(error))


async def fields(request: Request) -> Response:
    """The fields of the form, which every draft has, and the models with a short name."""
    from sweeps.ui.drafts.fields import form_fields

    return JSONResponse({**form_fields(), "models": [*PACKAGED, *CATALOG]})


async def data(request: Request) -> Response:
    """The data that there is, read anew."""
    return JSONResponse(await asyncio.to_thread(offered_data, ui_of(request).settings.data_folder))


async def add_data(request: Request) -> Response:
    """Takes a file of data into the data folder, never over one that is there."""
    folder = ui_of(request).settings.data_folder
    try:
        path = await asyncio.to_thread(new_data_file, folder, request.query_params.get("name", ""))
    except ValueError as error:
        return refused(400, "name", str(error))
    try:
        await stream_to_file(request, path, DATA_BYTES)
    except FileExistsError:
        return refused(
            400, "name", f"{path.name} is in the data folder already; rename the file that you upload"
        )
    return JSONResponse({"ok": True, "name": path.name})


async def unavailable(request: Request) -> Response:
    """The options that can't work here, by ``paretune doctor``; takes as long as that at the first time."""
    state, ui = request.app.state, ui_of(request)
    if not hasattr(state, "availability"):
        state.availability = Availability(ui.jobs, ui.settings.data_folder)
    try:
        return JSONResponse({"rules": await state.availability.unavailable()})
    except NoReport as error:
        return refused(503, "doctor", str(error))


async def _created(made: NewText) -> Response:
    try:
        draft = await asyncio.to_thread(_new_draft, made)
    except TooLong as error:
        return refused(413, "too_long", str(error))
    return JSONResponse({"ok": True, "id": draft.id, "path": f"/new/{draft.id}"})


def _new_draft(made: NewText) -> Draft:
    return DraftStore.at_home().create(made.text, origins.spec_name(made.text, made.name), made.origin)


def _run_spec(ui: Ui, key: str) -> NewText | None:
    """The spec of a run as it was written; raises :class:`WrongArgument` where it names code to run that no spec of
    the user's does: to check a draft is enough to run it.
    """
    entry = ui.runs.get(key)
    folder = entry.folder if entry is not None else None
    if entry is not None and folder is None:  # of a run at a URL, a copy is read
        followed = ui.snapshots.state(key, READ_SECONDS)
        folder = followed.reader.folder if followed is not None and followed.reader is not None else None
    if entry is None or folder is None:
        return None
    try:
        with require_own(folder / "spec.yaml").open("rb") as file:
            text = file.read(origins.UPLOAD_BYTES).decode("utf-8")
        resumed = Resumed(
            entry.location,
            read_environment(folder) or {},
            folder,
            ui.settings.data_folder.absolute(),
            ui.roots,
        )
    except (OSError, UnicodeDecodeError, DamagedFile):
        return None
    if code := resumed.foreign_code(text):
        raise WrongArgument(
            f"the run's spec would run code ({', '.join(sorted(code))}); upload it as a file if you trust this run"
        )
    return origins.copied(text, entry.name)


async def _from_data(ui: Ui, body: dict[str, Any]) -> Response:
    """A draft as ``paretune init`` writes it for a file of the data folder."""
    folder = ui.settings.data_folder
    name = str(body.get("name") or "")
    known = await asyncio.to_thread(offered_data, folder)
    if name not in (*known["embedded"], *known["registered"]):
        await asyncio.to_thread(below, folder, name)
    minutes = body.get("minutes")
    minutes = float(minutes) if isinstance(minutes, int | float) else None
    try:
        asked = InitRequest.new(name, body.get("model"), body.get("stage"), minutes)
        argv = asked.argv()
    except WrongArgument as error:
        return refused(400, "wrong", str(error))
    written = folder / asked.file
    try:
        completed = await ui.jobs.run_json(argv, cwd=folder, timeout=INIT_SECONDS)
        if not await asyncio.to_thread(written.is_file):
            return refused(400, "init", failure(completed))
        text = await asyncio.to_thread(written.read_text, "utf-8")
    finally:
        await asyncio.to_thread(written.unlink, missing_ok=True)
    return await _created(asked.made(text))
