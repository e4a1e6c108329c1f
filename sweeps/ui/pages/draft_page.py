"""A draft: its page, its changes, the check of its text, the preview of its data, and its start."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Any

from ruamel.yaml.error import YAMLError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sweeps.spec.key_path import KeyPath, parse_path
from sweeps.ui.context import Ui, ui_of
from sweeps.ui.drafts import edits, origins
from sweeps.ui.drafts.checking import DraftFolder
from sweeps.ui.drafts.form_state import form_state
from sweeps.ui.drafts.problem_kinds import with_kinds
from sweeps.ui.drafts.starting import SpecExists, Start, WrongAddress
from sweeps.ui.drafts.store import Draft, DraftStore, Outdated, TooLong
from sweeps.ui.refusal import refused
from sweeps.ui.rendering import page, translator
from sweeps.ui.request_body import read_json
from trainables.config import limits


def routes() -> list[Route]:
    return [
        Route("/new/{draft}", show),
        Route("/new/{draft}", discard, methods=["DELETE"]),
        Route("/new/{draft}/state", state),
        Route("/new/{draft}/text", save, methods=["POST"]),
        Route("/new/{draft}/edit", edit, methods=["POST"]),
        Route("/new/{draft}/check", check, methods=["POST"]),
        Route("/new/{draft}/preview", preview, methods=["POST"]),
        Route("/new/{draft}/command", command, methods=["POST"]),
        Route("/new/{draft}/start", start, methods=["POST"]),
        Route("/new/{draft}/started/{job}", started),
        Route("/new/{draft}/spec.yaml", download),
    ]


async def show(request: Request) -> Response:
    draft, ui = await _draft(request), ui_of(request)
    return page(
        request,
        "draft.html",
        title=draft.name,
        active="new",
        words=("new", "problems", "memory", "fields"),
        draft=draft,
        outputs=ui.settings.runs,
        address=ui.settings.address or "",
        data_folder=str(ui.settings.data_folder),
    )


async def state(request: Request) -> Response:
    """The draft as it is, with what its form shows."""
    draft = await _draft(request)
    return JSONResponse(await asyncio.to_thread(_state, draft, ui_of(request)))


async def save(request: Request) -> Response:
    """Keeps a text; 409 with the newer one where another browser has changed the draft."""
    draft, body, ui = await _draft(request), await read_json(request), ui_of(request)
    text, version = _text(body), body.get("version")
    if not isinstance(version, int):
        raise HTTPException(400, "version: the number of the draft's version is missing; reload the page")
    try:
        name = await asyncio.to_thread(origins.spec_name, text, draft.name)
        saved = await asyncio.to_thread(DraftStore.at_home().save, draft.id, text, version, name)
    except Outdated as error:
        newer = await asyncio.to_thread(_state, error.newer, ui)
        return refused(409, "outdated", translator(request)("new.outdated"), newer=newer)
    except TooLong as error:
        return refused(413, "too_long", str(error))
    return JSONResponse({"ok": True, **await asyncio.to_thread(_state, saved or draft, ui)})


async def edit(request: Request) -> Response:
    """The text with a change of the form; it isn't kept until the page saves it."""
    body = await read_json(request)
    text, path = _text(body), _path(body.get("path"))
    try:
        changed = await asyncio.to_thread(_edited, text, path, body)
    except (edits.NotEditable, YAMLError) as error:
        return refused(400, "not_editable", str(error))
    form = await asyncio.to_thread(form_state, changed, ui_of(request).settings.data_folder)
    return JSONResponse({"ok": True, "text": changed, "form": form})


async def check(request: Request) -> Response:
    """The plan of a text, with its problems; a newer check of the same page ends this one."""
    draft, body = await _draft(request), await read_json(request)
    folder, who = _folder(request), f"{draft.id}:{body.get('who')}"
    answer = await folder.check(_text(body), draft.name, who)
    return JSONResponse({**answer, "problems": with_kinds(answer.get("problems", []))})


async def preview(request: Request) -> Response:
    """The rows of the draft's data as a stage and method see them."""
    draft, body = await _draft(request), await read_json(request)
    options = ["--stage", _plain(body, "stage")] if body.get("stage") else []
    if "rows_from" in body:
        options += ["--rows-from", str(_number(body, "rows_from")), "--rows", str(_number(body, "rows", 20))]
        options += ["--part", _plain(body, "part", "training")]
    answer = await _folder(request).preview(_text(body), draft.name, f"{draft.id}:{body.get('who')}", options)
    return JSONResponse(answer)


async def command(request: Request) -> Response:
    """The command that the start would run."""
    draft, body = await _draft(request), await read_json(request)
    try:
        begin = _start(ui_of(request), draft, body)
    except WrongAddress as error:
        return refused(400, "address", str(error))
    return JSONResponse({"command": begin.command, "file": begin.file.name})


async def start(request: Request) -> Response:
    """Saves the spec beside the data and starts its sweep."""
    draft, body, ui = await _draft(request), await read_json(request), ui_of(request)
    if body.get("version") != draft.version:
        newer = await asyncio.to_thread(_state, draft, ui)
        return refused(409, "outdated", translator(request)("new.outdated"), newer=newer)
    if problems := await asyncio.to_thread(_folder(request).outside, draft.text):
        return refused(403, "outside", problems[0]["message"])
    try:
        begin = _start(ui, draft, body)
        await asyncio.to_thread(begin.save, draft.text, bool(body.get("replace")))
    except WrongAddress as error:
        return refused(400, "address", str(error))
    except SpecExists as error:
        return refused(409, "exists", str(error))
    existed = await asyncio.to_thread(ui.runs.get, begin.key) is not None
    job = await asyncio.to_thread(begin.start, ui.jobs)
    return JSONResponse(
        {"ok": True, "job": job.id, "run": begin.key, "existed": existed, "command": begin.command}
    )


async def started(request: Request) -> Response:
    """What has become of a start: its job, and whether the run is there."""
    ui = ui_of(request)
    job = await asyncio.to_thread(ui.jobs.get, request.path_params["job"])
    if job is None:
        raise HTTPException(404, translator(request)("jobs.unknown"))
    known = job.run is not None and await asyncio.to_thread(ui.runs.get, job.run) is not None
    return JSONResponse({"job": job.summary(), "log": await asyncio.to_thread(job.log), "known": known})


async def download(request: Request) -> Response:
    draft = await _draft(request)
    headers = {
        "content-disposition": f'attachment; filename="{draft.name}.yaml"',
        "x-content-type-options": "nosniff",
    }
    return Response(draft.text, media_type="application/yaml", headers=headers)


async def discard(request: Request) -> Response:
    draft = await _draft(request)
    await asyncio.to_thread(DraftStore.at_home().remove, draft.id)
    return JSONResponse({"ok": True})


async def _draft(request: Request) -> Draft:
    draft = await asyncio.to_thread(DraftStore.at_home().get, request.path_params["draft"])
    if draft is None:
        raise HTTPException(404, translator(request)("new.no_draft"))
    return draft


def _folder(request: Request) -> DraftFolder:
    ui = ui_of(request)
    return DraftFolder(ui.settings.data_folder, ui.roots, ui.jobs, ui.settings.runs[0])


def _state(draft: Draft, ui: Ui) -> dict[str, Any]:
    form = form_state(draft.text, ui.settings.data_folder)
    return {**asdict(draft), "form": {**form, "problems": with_kinds(form["problems"])}}


def _start(ui: Ui, draft: Draft, body: dict[str, Any]) -> Start:
    number = body.get("output", 0)
    outputs = ui.settings.runs
    if not isinstance(number, int) or not 0 <= number < len(outputs):
        raise HTTPException(400, f"output: the number of a folder of runs is from 0 to {len(outputs) - 1}")
    return Start(
        ui.settings.data_folder, draft.name, outputs[number], str(body.get("address") or "").strip() or None
    )


def _edited(text: str, path: KeyPath, body: dict[str, Any]) -> str:
    numbers = bool(body.get("numbers"))
    match body.get("op"):
        case "set":
            if "yaml" in body:
                return edits.set_written(text, path, str(body["yaml"]))
            return edits.set_value(text, path, body.get("value"), numbers)
        case "add":
            return edits.add_entry(text, path, body.get("value"), numbers)
        case "remove":
            return edits.remove(text, path)
    raise HTTPException(400, "op: a change is set, add or remove; reload the page")


def _text(body: dict[str, Any]) -> str:
    text = body.get("text")
    if not isinstance(text, str):
        raise HTTPException(400, "text: the text of the spec is missing; reload the page")
    if len(text) > limits.SPEC_BYTES:
        raise HTTPException(413, f"a spec has at most {limits.SPEC_BYTES} bytes")
    return text


def _path(written: Any) -> KeyPath:
    path = parse_path(written) if isinstance(written, str) else None
    if path is None:
        raise HTTPException(
            400, "path: the path of a value is expected, such as train.steps; reload the page"
        )
    return path


def _number(body: dict[str, Any], name: str, usual: int = 0) -> int:
    value = body.get(name, usual)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**31:
        raise HTTPException(400, f"{name}: a whole number from 0 to 2147483647 is expected")
    return value


def _plain(body: dict[str, Any], name: str, usual: str = "") -> str:
    """A name of a stage or a part that can't be taken for an option."""
    value = body.get(name, usual)
    if not isinstance(value, str) or value.startswith("-"):
        raise HTTPException(400, f"{name}: a name is expected that doesn't begin with a dash")
    return value
