"""The page of a run: its trials as they stand, figures, the answer so far, its log, and what can be done."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sweeps.ui import report_files
from sweeps.ui.context import ui_of
from sweeps.ui.event_stream import event_stream
from sweeps.ui.pages.run_lookup import followed_run, read_run
from sweeps.ui.refusal_kinds import in_language
from sweeps.ui.rendering import page, translator
from sweeps.ui.roots import below
from sweeps.ui.snapshots import answers, snapshot
from sweeps.ui.snapshots.followed import Followed

PUSH_SECONDS = 1.0
AS_OF_SECONDS = 5.0  # between two events that only say that nothing has changed


def routes() -> list[Route]:
    return [
        Route("/runs/{key}", run),
        Route("/runs/{key}/events", events),
        Route("/runs/{key}/curves", curves),
        Route("/runs/{key}/log", log),
        Route("/runs/{key}/answer", answer),
        Route("/runs/{key}/report/{path:path}", report_file),
    ]


async def run(request: Request) -> Response:
    """The page itself; what it shows comes by the event stream."""
    found = await followed_run(request)
    head = found.summary()
    return page(
        request,
        "run.html",
        title=head["name"],
        active="runs",
        words=("run", "home", "failures"),
        key=found.entry.key,
        head=head,
    )


async def events(request: Request) -> Response:
    """Everything of the run at once, and afterwards the rows that have changed."""
    await followed_run(request, wait=0)

    async def state() -> dict[str, Any]:
        return (await followed_run(request, wait=0)).to_json()

    return event_stream(request, state, PUSH_SECONDS, changes)


def changes(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any] | None:
    """What has changed; every few seconds at least that the run was looked at."""
    part = snapshot.changes(old, new)
    if part is None and (new["as_of"] or 0) // AS_OF_SECONDS != (old["as_of"] or 0) // AS_OF_SECONDS:
        return {"rows": [], "removed": [], "as_of": new["as_of"]}
    return part


async def curves(request: Request) -> Response:
    """The curves of all trials, thin enough for a figure; of one name, by default the first."""
    found = await read_run(request)
    name = request.query_params.get("name")
    return JSONResponse(await asyncio.to_thread(_curves, found, name))


def _curves(found: Followed, name: str | None) -> dict[str, Any]:
    from sweeps.ui.snapshots.run_curves import run_curves

    assert found.reader is not None
    return run_curves(found.reader, found.lock, name)


async def log(request: Request) -> Response:
    """The last lines of the run's log."""
    from sweeps.ui.snapshots.log_tail import log_tail

    found = await read_run(request)
    assert found.reader is not None
    return JSONResponse({"lines": await asyncio.to_thread(log_tail, found.reader.folder)})


async def answer(request: Request) -> Response:
    """The answer and the importance of settings as they stand: computed anew where trials have ended since."""
    found = await read_run(request)
    current = await ui_of(request).snapshots.answers.current(found)
    language = translator(request).language
    problem = in_language(current["problem"], language)
    return JSONResponse(
        {**current, "value": answers.in_language(current["value"], language), "problem": problem}
    )


async def report_file(request: Request) -> Response:
    """A file of the run's report, in a sandbox."""
    found = await read_run(request)
    assert found.reader is not None
    path = await asyncio.to_thread(below, found.reader.folder / "report", request.path_params["path"])
    response = report_files.report_file(path)
    if response is None or not await asyncio.to_thread(_is_file, path, found.reader.folder):
        raise HTTPException(404, translator(request)("run.no_file", name=path.name[:80]))
    return response


def _is_file(path: Path, folder: Path) -> bool:
    return path.is_file() and path.resolve().is_relative_to(folder.resolve())
