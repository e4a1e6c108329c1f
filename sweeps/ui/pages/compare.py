"""Two to four trials or runs side by side: what differs, their curves, tests row by row, their answers."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sweeps.ui.context import ui_of
from sweeps.ui.pages.run_lookup import read_run, trial_id
from sweeps.ui.pages.trial import PREDICTIONS
from sweeps.ui.refusal_kinds import in_language
from sweeps.ui.rendering import page, translator
from sweeps.ui.snapshots.computed import Failed
from sweeps.ui.snapshots.followed import Followed

LEAST, MOST = 2, 4
SECONDS = 300.0


@dataclass(frozen=True)
class Compared:
    """A trial that is compared: for a run its best one. ``name`` tells it from the others."""

    found: Followed
    trial: str
    name: str

    @property
    def folder(self) -> Path:
        assert self.found.reader is not None
        return self.found.reader.trials[self.trial].folder


def routes() -> list[Route]:
    return [
        Route("/compare", compare),
        Route("/compare/values", values),
        Route("/compare/answers", answers),
        Route("/compare/tests", tests),
    ]


async def compare(request: Request) -> Response:
    """The page; with fewer than two trials in its address, one to choose them on."""
    t = translator(request)
    chosen = len(request.query_params.getlist("run")) + len(request.query_params.getlist("trial"))
    return page(
        request,
        "compare.html",
        title=t("compare.title"),
        active="runs",
        words=("compare", "trial", "run", "home", "failures"),
        chosen=chosen,
    )


class NoBestYet(Exception):  # noqa: N818
    """A run has no best trial yet; the message names it."""


async def _compared(request: Request) -> list[Compared]:
    """Raises ``HTTPException`` 400 for too few or too many, 404 for what there is not, :class:`NoBestYet`."""
    t, found = translator(request), list[Compared]()
    runs, trials = request.query_params.getlist("run"), request.query_params.getlist("trial")
    if not LEAST <= len(runs) + len(trials) <= MOST:
        raise HTTPException(400, t("compare.number", count=len(runs) + len(trials)))
    for key in runs:
        run = await read_run(request, key)
        assert run.snapshot is not None
        best = run.snapshot.head["best"]
        if best is None:
            raise NoBestYet(t("compare.no_best", name=run.snapshot.head["name"]))
        found.append(Compared(run, best["trial"], run.snapshot.head["name"]))
    for text in trials:
        key, _, trial = text.partition(":")
        run = await read_run(request, key)
        found.append(
            Compared(run, await trial_id(request, run, trial), f"{run.summary()['name']} {trial[:12]}")
        )
    return found


async def values(request: Request) -> Response:
    """What differs; ``{"waiting": ...}`` while a run has no best trial: the page asks again."""
    try:
        compared = await _compared(request)
    except NoBestYet as reason:
        return JSONResponse({"waiting": str(reason)})
    return JSONResponse(await asyncio.to_thread(_values, compared))


async def answers(request: Request) -> Response:
    """Their answers row by row, read by a process of its own; the page shows all else before."""
    nothing = {"rows": [], "common": 0, "different": 0}
    try:
        compared = await _compared(request)
    except NoBestYet as reason:
        return JSONResponse({**nothing, "problem": str(reason)})
    return JSONResponse({**nothing, **await _of_trials(request, PREDICTIONS, compared)})


async def _of_trials(request: Request, module: str, compared: list[Compared]) -> dict[str, Any]:
    """What a process computes of them; the problem where it fails."""
    folders = [each.folder for each in compared]
    try:
        found = await ui_of(request).snapshots.of_trials.of_trials([module], folders, SECONDS)
    except (Failed, OSError) as error:
        return {"problem": in_language(str(error), translator(request).language)}
    return {"pairs": found} if isinstance(found, list) else dict(found)


def _values(compared: list[Compared]) -> dict[str, Any]:
    from reports.analysis.configs import varied
    from sweeps.ui.snapshots.trial_details import trial_details

    sides = list[dict[str, Any]]()
    for each in compared:
        with each.found.lock:
            assert each.found.reader is not None
            assert each.found.snapshot is not None
            details = trial_details(each.found.reader, each.found.snapshot, each.trial)
        wanted = ("row", "settings", "curves", "memory", "facts", "metrics")
        side = {name: details[name] for name in wanted}
        sides.append({**side, "key": each.found.entry.key, "trial": each.trial, "name": each.name})
    differing = varied([side["settings"] for side in sides])
    as_of = min(each.found.snapshot.as_of for each in compared if each.found.snapshot is not None)
    return {"sides": sides, "differing": differing, "as_of": as_of}


async def tests(request: Request) -> Response:
    """What tests say of every two of them, computed in a process of its own."""
    try:
        compared = await _compared(request)
    except NoBestYet as reason:
        return JSONResponse({"pairs": [], "problem": str(reason)})
    found = await _of_trials(request, "sweeps.ui.snapshots.paired_tests", compared)
    return JSONResponse({"pairs": [], **found})
