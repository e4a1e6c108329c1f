"""One chat: its models, its answers, and the pages that follow them. All of it runs in the event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

from sweeps.ui.chats.chat_process import ChatProcess
from sweeps.ui.chats.models import MAX_ANSWERS, Answer, ChatModel
from sweeps.ui.model_choices import ModelChoice
from trainables.system.shown_text import shown

MAX_MODELS = 4
MEMORY_SECONDS = 2.0
KILLED = -9
FACTS = ("finish_reason", "prompt_tokens", "new_tokens", "seconds")

Event = tuple[str, dict[str, Any]]


class TooManyModels(ValueError):  # noqa: N818
    """A fifth model of a chat."""


class Chat:
    """``cwd``: the folder that its process runs in. ``used``: when it was last used, by a monotonic clock."""

    def __init__(self, chat_id: str, cwd: Path, memory: Callable[[int | None], dict[str, Any]]) -> None:
        self.id = chat_id
        self.used = time.monotonic()
        self._cwd, self._memory = cwd, memory
        self._models: dict[str, ChatModel] = {}
        self._answers: dict[str, Answer] = {}
        self._process: ChatProcess | None = None
        self._reading: asyncio.Task[None] | None = None
        self._followers: set[asyncio.Queue[Event]] = set()
        self._starting = asyncio.Lock()

    @property
    def busy(self) -> bool:
        return any(not answer.ended for answer in self._answers.values())

    async def load(self, choice: ModelChoice) -> None:
        """Begins to load a model, unless it is loaded. Raises :class:`TooManyModels`."""
        self.used = time.monotonic()
        known = self._models.get(choice.id)
        if known is not None and known.state != "failed":
            return
        if known is None and len(self._models) >= MAX_MODELS:
            raise TooManyModels(f"a chat has at most {MAX_MODELS} models; unload one")
        self._models[choice.id] = ChatModel(choice.id, choice.label, choice.argument)
        self._tell_models()
        process = await self._started()
        await process.send({"load": choice.argument})

    async def unload(self, model_id: str) -> None:
        """Gives the memory of a model back; that of the process goes when its last model does."""
        self.used = time.monotonic()
        model = self._models.pop(model_id, None)
        if model is None:
            return
        self._tell_models()
        if not self._models:
            await self.end()
        elif self._process is not None:
            await self._process.send({"unload": model.argument})

    async def ask(
        self, answer_id: str, model_id: str, messages: Sequence[Any], sampling: dict[str, Any]
    ) -> bool:
        """Asks a model for an answer to messages; ``False`` for one that is not ready."""
        self.used = time.monotonic()
        model = self._models.get(model_id)
        if model is None or model.state != "ready" or self._process is None or answer_id in self._answers:
            return False
        ended = [each for each in self._answers.values() if each.ended]
        for old in ended[: max(0, len(self._answers) - MAX_ANSWERS + 1)]:
            del self._answers[old.id]
        self._answers[answer_id] = answer = Answer(answer_id, model_id)
        self._tell("answer", answer.to_json())
        asked = {"id": answer_id, "models": [model.argument], "messages": list(messages)}
        await self._process.send({**asked, **sampling})
        return True

    async def stop(self, answer_ids: Sequence[str]) -> None:
        """Ends answers; what they have so far stays."""
        self.used = time.monotonic()
        for answer_id in answer_ids:
            answer = self._answers.get(answer_id)
            if answer is not None and not answer.ended and self._process is not None:
                await self._process.send({"stop": answer_id})

    async def end(self) -> None:
        """Ends the process; its models are no longer loaded. The conversation is the page's."""
        if self._process is not None:
            await self.stop(list(self._answers))  # the process would complete them first
        process, self._process = self._process, None
        self._models.clear()
        self._fail_answers("The chat's process was ended.")
        self._tell_models()
        if process is not None:
            await process.end()

    async def close(self) -> None:
        """Ends the chat for good, and the streams of pages that follow it."""
        await self.end()
        self._tell("ended", {})

    async def follow(self) -> AsyncIterator[Event]:
        """Everything at once, then what changes; ``memory`` now and then."""
        queue: asyncio.Queue[Event] = asyncio.Queue()
        self._followers.add(queue)
        try:
            yield "state", await self._state()
            while True:
                try:
                    event = await asyncio.wait_for(queue.get(), MEMORY_SECONDS)
                except TimeoutError:
                    event = ("memory", await self._memory_now())
                yield event
                if event[0] == "ended":
                    return
        finally:
            self._followers.discard(queue)

    async def _state(self) -> dict[str, Any]:
        answers = [answer.to_json() for answer in self._answers.values()]
        return {"models": self._models_json(), "answers": answers, "memory": await self._memory_now()}

    async def _memory_now(self) -> dict[str, Any]:
        return await asyncio.to_thread(self._memory, self._process.pid if self._process else None)

    async def _started(self) -> ChatProcess:
        async with self._starting:
            if self._process is None:
                self._process = await ChatProcess.start(["chat", "--json"], self._cwd)
                self._reading = asyncio.create_task(self._read(self._process))
            return self._process

    async def _read(self, process: ChatProcess) -> None:
        async for event in process.events():
            if process is self._process:  # not what one that is being ended still says
                self._take(event)
        if process is self._process:  # nobody has ended it
            self._process = None
            self._lost(process)

    def _take(self, event: dict[str, Any]) -> None:
        answer = self._answers.get(str(event.get("id")))
        if answer is not None and answer.ended:
            return
        match event:
            case {"event": "ready", "model": str(argument)}:
                self._ready(argument, event)
            case {"event": "token", "text": str(text)} if answer is not None:
                self._add(answer, shown(text), event.get("thinking") is True)
            case {"event": "done"} if answer is not None:
                answer.state = "stopped" if event.get("finish_reason") == "cancelled" else "done"
                answer.facts = {name: event.get(name) for name in FACTS}
                self._tell("answer", answer.to_json())
            case {"event": "error"}:
                self._failed(answer, event.get("model"), shown(str(event.get("message") or "error")))

    def _ready(self, argument: str, event: dict[str, Any]) -> None:
        for model in self._models.values():
            if model.argument == argument:
                model.state, model.message = "ready", None
                model.bytes, model.note = event.get("memory_bytes"), event.get("slow")
        self._tell_models()

    def _add(self, answer: Answer, text: str, thinking: bool) -> None:
        answer.state = "running"
        if thinking:
            answer.thoughts += text
        else:
            answer.text += text
        self.used = time.monotonic()
        self._tell("token", {"id": answer.id, "text": text, "thinking": thinking})

    def _failed(self, answer: Answer | None, argument: Any, message: str) -> None:
        """An error is that of an answer, or of a model that could not be loaded."""
        if answer is not None:
            answer.state, answer.message = "failed", message
            self._tell("answer", answer.to_json())
            return
        for model in self._models.values():
            if model.argument == argument and model.state == "loading":
                model.state, model.message = "failed", message
        self._tell_models()

    def _lost(self, process: ChatProcess) -> None:
        """The process has ended by itself: its models are gone, and nothing more comes of its answers."""
        reason = f"its process ended with code {process.exit_code}"
        if process.exit_code == KILLED:
            reason = "its process was killed, perhaps because memory ran out"
        last = process.log().rpartition("\n")[2]
        message = f"{reason}: {last}" if last else reason
        for model in self._models.values():
            model.state, model.message, model.bytes = "failed", message, None
        self._fail_answers(message)
        self._tell_models()

    def _fail_answers(self, message: str) -> None:
        for answer in self._answers.values():
            if not answer.ended:
                answer.state, answer.message = "failed", message
                self._tell("answer", answer.to_json())

    def _models_json(self) -> list[dict[str, Any]]:
        return [model.to_json() for model in self._models.values()]

    def _tell_models(self) -> None:
        self._tell("models", {"models": self._models_json()})

    def _tell(self, name: str, data: dict[str, Any]) -> None:
        for queue in self._followers:
            queue.put_nowait((name, data))
