"""Jobs: the commands that the UI has started, what became of them, and how to end one."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from sweeps.ui.children import Job
from sweeps.ui.context import Ui, ui_of
from sweeps.ui.event_stream import HEADERS, event, event_stream
from sweeps.ui.job_links import job_links
from sweeps.ui.refusal_kinds import translations
from sweeps.ui.rendering import page, translator

LIST_SECONDS = 1.5


def routes() -> list[Route]:
    return [
        Route("/jobs", jobs),
        Route("/jobs/events", list_events),
        Route("/jobs/{job}", one_job),
        Route("/jobs/{job}/events", events),
        Route("/jobs/{job}/cancel", cancel, methods=["POST"]),
    ]


async def jobs(request: Request) -> Response:
    """The list; its rows come by the event stream."""
    title = translator(request)("jobs.title")
    return page(request, "jobs.html", title=title, active="jobs", words=("jobs",))


async def list_events(request: Request) -> Response:
    ui = ui_of(request)

    def state() -> list[dict[str, Any]]:
        return [job.summary() for job in ui.jobs.list()]

    return event_stream(request, lambda: asyncio.to_thread(state), LIST_SECONDS)


async def one_job(request: Request) -> Response:
    job = await _job(request)
    words = ("jobs", "evaluate", "export")
    return page(request, "job.html", title=job.title, active="jobs", words=words, job=job)


async def events(request: Request) -> Response:
    """What the job writes, from its beginning; the stream ends with the job."""
    job = await _job(request)
    return StreamingResponse(_events(request, job.id), media_type="text/event-stream", headers=HEADERS)


async def _events(request: Request, job_id: str) -> AsyncIterator[str]:
    ui = ui_of(request)
    async for each in ui.jobs.follow(job_id):
        if each.name == "alive":
            if await request.is_disconnected():
                return
            yield ": still here\n\n"
        else:
            yield event(each.name, await asyncio.to_thread(for_page, ui, each.data))


def for_page(ui: Ui, data: dict[str, Any]) -> dict[str, Any]:
    """What a page gets of a job: with links, and with what a command says in other languages, too."""
    data, job = in_languages(data), data.get("job")
    return data if job is None else {**data, "links": job_links(ui, job)}


def in_languages(data: dict[str, Any]) -> dict[str, Any]:
    """What is known of a job, with the messages of its command in other languages, too."""
    if "events" in data:
        said = (
            {**each, "translations": translations(str(each.get("message") or ""))} for each in data["events"]
        )
        data = {**data, "events": list(said)}
    if "log" in data:
        last = (data["log"].strip().splitlines() or [""])[-1]
        # The page shows the end of the log below these words.
        said_last = translations(re.sub(r"^(?:error|Error): ", "", last), whole=False)
        data = {**data, "log_translations": said_last}
    return data


async def cancel(request: Request) -> Response:
    job = await _job(request)
    await asyncio.to_thread(ui_of(request).jobs.cancel, job.id)
    return JSONResponse({"ok": True})


async def _job(request: Request) -> Job:
    """The job that the address names. Raises ``HTTPException`` 404."""
    job: Job | None = await asyncio.to_thread(ui_of(request).jobs.get, request.path_params["job"])
    if job is None:
        raise HTTPException(404, translator(request)("jobs.unknown"))
    return job
