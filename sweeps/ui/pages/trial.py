"""The page of a trial: settings, curves, memory beside the prediction, answers, its place, its files and commands."""

from __future__ import annotations

import asyncio
import shlex
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sweeps.ui.context import ui_of
from sweeps.ui.event_stream import event_stream
from sweeps.ui.pages.run import AS_OF_SECONDS
from sweeps.ui.pages.run_lookup import followed_run, read_run, trial_id
from sweeps.ui.refusal_kinds import in_language
from sweeps.ui.rendering import page, translator
from sweeps.ui.snapshots.computed import Failed
from sweeps.ui.snapshots.followed import Followed

PUSH_SECONDS = 2.0
SAMPLE_SECONDS = 60.0
PREDICTIONS = "sweeps.ui.snapshots.predictions"


def routes() -> list[Route]:
    return [
        Route("/runs/{key}/trials/{trial}", trial),
        Route("/runs/{key}/trials/{trial}/events", events),
        Route("/runs/{key}/trials/{trial}/samples", samples),
    ]


async def trial(request: Request) -> Response:
    """The page itself; what it shows comes by the event stream."""
    found = await followed_run(request)
    name = await trial_id(request, found)
    return page(
        request,
        "trial.html",
        title=f"{name} – {found.summary()['name']}",
        active="runs",
        words=("trial", "run", "home", "failures"),
        key=found.entry.key,
        trial=name,
        run_name=found.summary()["name"],
        commands=_commands(found, name),
    )


def _commands(found: Followed, trial: str) -> list[tuple[str, str]]:
    """What a person may type, by the key of its words."""
    location = found.entry.location
    model = f"{location}:{trial}"
    lines = {
        "trial.use_chat": ["chat", model],
        "trial.use_evaluate": ["evaluate", model],
        "trial.use_export": ["export", model, f"models/{trial}"],
        "trial.use_logs": ["logs", location, trial],
        "trial.use_add": ["add", location, "--like", trial, "--set", "train.seed=1"],
        "trial.use_try": ["try", f"{location}/spec.yaml"],
    }
    return [(key, shlex.join(["paretune", *words])) for key, words in lines.items()]


async def events(request: Request) -> Response:
    """Everything of the trial, again whenever something of it has changed."""
    await trial_id(request, await read_run(request))

    async def state() -> dict[str, Any]:
        found = await read_run(request)
        return await asyncio.to_thread(_details, found, request.path_params["trial"])

    return event_stream(request, state, PUSH_SECONDS, changes)


def changes(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any] | None:
    """All of a trial that has changed; every few seconds at least the time when it was read."""
    if any(new[name] != old.get(name) for name in new if name != "as_of"):
        return new
    if new["as_of"] // AS_OF_SECONDS != old["as_of"] // AS_OF_SECONDS:
        return {"as_of": new["as_of"]}
    return None


def _details(found: Followed, trial: str) -> dict[str, Any]:
    from sweeps.ui.snapshots.trial_details import files_of, trial_details

    with found.lock:
        reader, snapshot = found.reader, found.snapshot
        if reader is None or snapshot is None or trial not in reader.trials:
            raise HTTPException(404, "the trial is gone")
        details = trial_details(reader, snapshot, trial)
        folder = reader.trials[trial].folder
    # Walked outside of the lock: checkpoints on a slow disk hold up no other page of the run.
    details |= files_of(folder)
    return {
        **details,
        "state": snapshot.head["state"],
        "problem": found.problem,
        "as_of": snapshot.as_of,
    }


async def samples(request: Request) -> Response:
    """The first answers of the trial to held-out prompts."""
    found = await read_run(request)
    name = await trial_id(request, found)
    assert found.reader is not None
    folder = found.reader.trials[name].folder
    try:
        return JSONResponse(
            await ui_of(request).snapshots.of_trials.of_trials([PREDICTIONS], [folder], SAMPLE_SECONDS)
        )
    except (Failed, OSError) as error:
        return JSONResponse({"rows": [], "problem": in_language(str(error), translator(request).language)})
