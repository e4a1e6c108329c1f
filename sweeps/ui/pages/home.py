"""The first page: every run below the roots, and what to do where there are none."""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from pathlib import Path
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from sweeps.ui.context import ui_of
from sweeps.ui.event_stream import event_stream
from sweeps.ui.refusal import refused
from sweeps.ui.rendering import page, translator
from sweeps.ui.report_files import report_file
from sweeps.ui.request_body import read_json
from sweeps.ui.roots import below
from sweeps.ui.run_index import added_keys
from trainables.storage.home import home as home_folder

PUSH_SECONDS = 2.0
AS_OF_SECONDS = 5.0  # between two events that only say that nothing has changed
LATE_SECONDS = 30.0  # after which a page says of when a run's state is


def routes() -> list[Route]:
    return [
        Route("/", home),
        Route("/events", events),
        Route("/runs", add_run, methods=["POST"]),
        Route("/runs/{key}", remove_run, methods=["DELETE"]),
        Route("/demo", start_demo, methods=["POST"]),
        Route("/reports", start_report, methods=["POST"]),
        Route("/reports/{folder}/{name:path}", joint_report),
    ]


async def home(request: Request) -> Response:
    """The page itself; its rows come by the event stream, so that a slow disk holds up no page."""
    ui = ui_of(request)
    return page(
        request,
        "home.html",
        title=translator(request)("home.title"),
        active="runs",
        words=("home",),
        roots=ui.settings.runs,
    )


async def events(request: Request) -> StreamingResponse:
    """All runs at once, and all again whenever one has changed; every few seconds at least when they were read."""
    ui = ui_of(request)
    snapshots = ui.snapshots

    def state() -> dict[str, Any]:
        added, now = added_keys(), time.time()
        summaries = [{**each, "added": each["key"] in added} for each in snapshots.summaries()]
        times = [each["as_of"] for each in summaries if not _is_late(each["as_of"], now)]
        return {
            "runs": [_with_age_of_reading(each, now) for each in summaries],
            "as_of": min(filter(None, times), default=now),
            "is_reading": ui.runs.is_reading,
        }

    return event_stream(request, lambda: asyncio.to_thread(state), PUSH_SECONDS, changes)


def changes(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any] | None:
    """The runs if one has changed, or all folders are read; every few seconds the time alone."""
    if (new["runs"], new["is_reading"]) != (old["runs"], old["is_reading"]):
        return new
    if new["as_of"] // AS_OF_SECONDS != old["as_of"] // AS_OF_SECONDS:
        return {"as_of": new["as_of"]}
    return None


def _is_late(as_of: float | None, now: float) -> bool:
    return as_of is not None and now - as_of > LATE_SECONDS


def _with_age_of_reading(summary: dict[str, Any], now: float) -> dict[str, Any]:
    """Each read has another time, which alone is no news; a read that is late is."""
    as_of = summary["as_of"]
    return {**summary, "as_of": round(as_of) if _is_late(as_of, now) else None}


async def start_demo(request: Request) -> Response:
    """Starts the shipped `methods` spec in the first folder for runs, as a sweep that goes on without the UI."""
    ui = ui_of(request)
    output = ui.settings.runs[0]
    argv = ["run", "methods", "--detach", "--output", output]
    address = ["--address", ui.settings.address] if ui.settings.address else []
    job = await asyncio.to_thread(
        ui.jobs.start, "run", [*argv, *address], ui.settings.data_folder, title="methods"
    )
    return JSONResponse({"ok": True, "url": f"{ui.settings.root_path}/jobs/{job.id}"})


async def start_report(request: Request) -> Response:
    """Starts one report over several runs, below the cache, where no run's own report is replaced."""
    ui = ui_of(request)
    keys = (await read_json(request)).get("runs")
    texts = [key for key in keys if isinstance(key, str)] if isinstance(keys, list) else []
    known = {entry.key: entry for entry in await asyncio.to_thread(ui.runs.entries)}
    places = [known[key].location for key in texts if key in known]
    if not places or len(places) != len(texts):
        return refused(400, "runs", "select runs that are in the list")
    folder = joint_reports() / secrets.token_hex(8)
    job = await asyncio.to_thread(
        ui.jobs.start, "report", ["report", "--output", str(folder), "--", *places], ui.settings.data_folder,
        title=", ".join(place.rpartition("/")[2] for place in places),
    )  # fmt: skip
    url = f"{ui.settings.root_path}/reports/{folder.name}/index.html?job={job.id}"
    return JSONResponse({"ok": True, "url": url})


async def joint_report(request: Request) -> Response:
    """A file of a report over several runs; the job that writes it, as long as it isn't there."""
    ui = ui_of(request)
    folder, name = request.path_params["folder"], request.path_params["name"]
    if not re.fullmatch(r"[0-9a-f]{16}", folder):
        raise HTTPException(404, "there is no such report")
    path = await asyncio.to_thread(below, joint_reports() / folder, name)
    if not await asyncio.to_thread(path.is_file):
        job = await asyncio.to_thread(ui.jobs.get, request.query_params.get("job", ""))
        if job is None:
            raise HTTPException(404, "there is no such report")
        return RedirectResponse(f"{ui.settings.root_path}/jobs/{job.id}", 303)
    response = report_file(path)
    if response is None:
        raise HTTPException(404, "there is no such report")
    return response


def joint_reports() -> Path:
    """The folder of reports over several runs."""
    return home_folder() / "ui" / "reports"


async def add_run(request: Request) -> Response:
    """Adds a run at a URL to the list."""
    ui = ui_of(request)
    url = (await read_json(request)).get("url")
    try:
        entry = await asyncio.to_thread(ui.runs.add, str(url).strip())
    except ValueError as error:
        return refused(400, "url", str(error))
    return JSONResponse({"ok": True, "url": f"{ui.settings.root_path}/runs/{entry.key}"})


async def remove_run(request: Request) -> Response:
    """Takes a run that was added out of the list; nothing of the run is removed."""
    if not await asyncio.to_thread(ui_of(request).runs.remove, request.path_params["key"]):
        raise HTTPException(404, translator(request)("home.not_added"))
    return JSONResponse({"ok": True})
