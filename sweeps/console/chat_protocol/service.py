"""Answers requests of the chat protocol as they come: answers of several models are generated together."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TextIO

from sweeps.console.chat_protocol.answers import Event, StreamedAnswer
from sweeps.console.chat_protocol.loaded_models import ChatModels
from sweeps.console.chat_protocol.requests import (
    MAX_LINE,
    Ask,
    Load,
    Stop,
    Unload,
    WrongRequest,
    parse_request,
)
from trainables.inference.generator import Generator
from trainables.inference.prompts import prompt_tokens
from trainables.inference.sampling import Sampling
from trainables.models.folder import ModelError
from trainables.system.error_place import describe
from trainables.system.redaction import redacted
from trainables.templates import TemplateError

Emit = Callable[[Event], None]


class ChatService:
    """The models, and the answers that they are generating. ``sampling`` and ``system``: where a request gives none."""

    def __init__(self, models: ChatModels, sampling: Sampling, system: str | None, emit: Emit) -> None:
        self.models, self.sampling, self.system, self.emit = models, sampling, system, emit
        self.generator = Generator()
        self.answers: list[StreamedAnswer] = []

    def load(self, name: str) -> None:
        """Loads a model: ``loading``, then ``ready`` or ``error``."""
        self.emit({"event": "loading", "model": name})
        try:
            description = self.models.load(name)
        except Exception as error:  # whatever a model fails with, the others go on
            self._emit_error(_words(error), model=name)
            return
        self.emit({"event": "ready", "model": name, **description})

    def handle(self, line: str) -> None:
        """Does what a line asks for; a mistake in it is an event."""
        try:
            request = parse_request(line)
        except WrongRequest as error:
            self._emit_error(str(error), request_id=error.request_id)
            return
        match request:
            case Ask():
                self._ask(request)
            case Stop():
                self._cancel(lambda answer: answer.request_id == request.stop)
            case Load():
                self.load(request.load)
            case Unload():
                self._unload(request.unload)

    def step(self) -> None:
        """Adds a token to every answer, and tells what is new."""
        self.generator.step()
        self._tell()

    @property
    def busy(self) -> bool:
        return bool(self.answers)

    def _ask(self, request: Ask) -> None:
        for name in dict.fromkeys(request.models if request.models is not None else self.models.loaded):
            try:
                self.answers.append(self._submitted(request, name))
            except (ModelError, TemplateError, ValueError) as error:
                self._emit_error(_words(error), request.id, name)
            except Exception as error:  # a template or a tokenizer of somebody else may raise anything
                self._emit_error(f"{name}: {describe(error)}", request.id, name)
        if not self.models.loaded and not request.models:
            self._emit_error("no model is loaded", request.id)

    def _submitted(self, request: Ask, name: str) -> StreamedAnswer:
        loaded = self.models.get(name)
        sampling = replace(self.sampling, **request.sampling())
        prompt = prompt_tokens(loaded, request.conversation(self.system))
        return StreamedAnswer(request.id, name, loaded, self.generator.submit(loaded, prompt, sampling))

    def _unload(self, name: str) -> None:
        try:
            self.generator.forget(self.models.get(name))
            self._cancel(lambda answer: answer.name == name)
            freed = self.models.unload(name)
        except ModelError as error:
            self._emit_error(str(error), model=name)
            return
        self.emit({"event": "unloaded", "model": name, **freed.to_json("freed_bytes")})

    def _cancel(self, is_meant: Callable[[StreamedAnswer], bool]) -> None:
        for answer in filter(is_meant, self.answers):
            answer.cancel()
        self._tell()

    def _tell(self) -> None:
        for answer in self.answers:
            for event in answer.events():
                self.emit(event)
        self.answers = [answer for answer in self.answers if not answer.over]

    def _emit_error(
        self, message: str, request_id: str | int | None = None, model: str | None = None
    ) -> None:
        self.emit({"event": "error", "id": request_id, "model": model, "message": redacted(message)})


def _words(error: Exception) -> str:
    known = isinstance(error, ModelError | TemplateError | ValueError)
    return str(error) if known else describe(error)


def serve(service: ChatService, names: Sequence[str], lines: TextIO) -> int:
    """Loads the models and answers requests until the input ends and its last answer is complete.

    Returns how many of the models could be loaded at the beginning.
    """
    for name in names:
        service.load(name)
    count = len(service.models.loaded)
    requests: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(lines, requests), daemon=True).start()
    for line in _arrivals(service, requests):
        service.handle(line)
    return count


def _arrivals(service: ChatService, requests: queue.SimpleQueue[str | None]) -> Iterator[str]:
    """Each line as it comes; between lines, answers go on."""
    ended = False
    while not ended or service.busy:
        try:
            line = requests.get(block=not service.busy) if not ended else None
        except queue.Empty:
            service.step()
            continue
        if line is None:
            ended = True
            if service.busy:
                service.step()
        elif line.strip():
            yield line


def _read(lines: TextIO, requests: queue.SimpleQueue[str | None]) -> None:
    """Passes lines on, and ``None`` at the end; of a line that is too long, its beginning, which is refused."""
    try:
        while line := lines.readline(MAX_LINE + 2):
            requests.put(line)
            while line and not line.endswith("\n"):
                line = lines.readline(MAX_LINE)
    except (OSError, ValueError) as error:  # a damaged pipe, or bytes that are no text
        requests.put(f"not readable: {error}")
    requests.put(None)
