"""Chat: one to four models side by side. The conversation is kept by the page, the models by a process of the chat."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from sweeps.ui.chats import TooManyChats
from sweeps.ui.chats.chat import Chat, TooManyModels
from sweeps.ui.chats.requests import WrongRequest, answer_request, sampling_of
from sweeps.ui.context import ui_of
from sweeps.ui.event_stream import HEADERS, event
from sweeps.ui.model_choices import WrongChoice, chosen_model
from sweeps.ui.refusal import refused
from sweeps.ui.rendering import page, translator
from sweeps.ui.request_body import read_json
from sweeps.ui.roots import OutsideRoot


def routes() -> list[Route]:
    return [
        Route("/chat", show),
        Route("/chats", new, methods=["POST"]),
        Route("/chats/{chat}", known),
        Route("/chats/{chat}", remove, methods=["DELETE"]),
        Route("/chats/{chat}/events", events),
        Route("/chats/{chat}/models", load, methods=["POST"]),
        Route("/chats/{chat}/unload", unload, methods=["POST"]),
        Route("/chats/{chat}/answers", ask, methods=["POST"]),
        Route("/chats/{chat}/stop", stop, methods=["POST"]),
    ]


async def show(request: Request) -> Response:
    title = translator(request)("chat.title")
    return page(request, "chat.html", title=title, active="chat", words=("chat", "evaluate", "run"))


async def new(request: Request) -> Response:
    """A chat of a page's own; a page asks for one with its first model."""
    try:
        chat = ui_of(request).chats.new()
    except TooManyChats as error:
        return refused(409, "chats", str(error))
    return JSONResponse({"ok": True, "chat": chat.id})


async def known(request: Request) -> Response:
    """Whether the chat of a page that was reloaded still exists."""
    return JSONResponse({"ok": True, "chat": _chat(request).id})


async def remove(request: Request) -> Response:
    await ui_of(request).chats.remove(_chat(request).id)
    return JSONResponse({"ok": True})


async def events(request: Request) -> Response:
    stream = _events(request, _chat(request))
    return StreamingResponse(stream, media_type="text/event-stream", headers=HEADERS)


async def _events(request: Request, chat: Chat) -> AsyncIterator[str]:
    async for name, data in chat.follow():
        yield event(name, data)
        if name == "memory" and await request.is_disconnected():
            return


async def load(request: Request) -> Response:
    """Begins to load a model; the event stream says how it goes."""
    chat, values = _chat(request), await read_json(request)
    try:
        choice = await asyncio.to_thread(chosen_model, ui_of(request), values.get("model"))
        await chat.load(choice)
    except (WrongChoice, OutsideRoot, TooManyModels) as error:
        return refused(400, "model", str(error))
    return JSONResponse({"ok": True})


async def unload(request: Request) -> Response:
    chat, values = _chat(request), await read_json(request)
    await chat.unload(str(values.get("model")))
    return JSONResponse({"ok": True})


async def ask(request: Request) -> Response:
    """Asks models for answers: ``{"answers": [{"id", "model", "messages"}], "sampling": {...}}``."""
    chat, values = _chat(request), await read_json(request)
    try:
        wanted, sampling = answer_request(values), sampling_of(values)
    except WrongRequest as error:
        return refused(400, "request", str(error))
    not_ready = [
        each.id for each in wanted if not await chat.ask(each.id, each.model, each.messages, sampling)
    ]
    return JSONResponse({"ok": True, "refused": not_ready})


async def stop(request: Request) -> Response:
    chat, values = _chat(request), await read_json(request)
    ids: Any = values.get("ids")
    await chat.stop([each for each in ids if isinstance(each, str)] if isinstance(ids, list) else [])
    return JSONResponse({"ok": True})


def _chat(request: Request) -> Chat:
    """The chat that the address names. Raises ``HTTPException`` 404."""
    chat: Chat | None = ui_of(request).chats.get(request.path_params["chat"])
    if chat is None:
        raise HTTPException(404, translator(request)("chat.ended"))
    return chat
