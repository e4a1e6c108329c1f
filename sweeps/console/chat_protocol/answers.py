"""An answer of one model to a request: its text as events, several characters at a time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from trainables.inference.continuous_batch import Answer
from trainables.inference.model_pool import LoadedModel
from trainables.inference.text_stream import TextStream
from trainables.inference.thought_stream import ThoughtStream
from trainables.system.error_place import describe

Event = dict[str, Any]
FLUSH_SECONDS = 0.05  # between events of one answer
PROMPT_END = 16  # tokens of the prompt's end, which may open a thought


@dataclass
class StreamedAnswer:
    """An answer that is being generated for the request ``request_id`` by the model ``name``."""

    request_id: str | int
    name: str
    loaded: LoadedModel
    answer: Answer
    begun: float = field(default_factory=time.monotonic)
    _read: int = 0  # tokens that were passed on to the stream of text
    _first_token: float | None = None
    _flushed: float = 0.0
    _waiting: list[tuple[str, bool]] = field(default_factory=list)  # text and whether it is thought
    over: bool = False

    def __post_init__(self) -> None:
        prompt_end = str(self.loaded.tokenizer.decode(self.answer.prompt[-PROMPT_END:]))
        self._text = TextStream(self.loaded.tokenizer, self.answer.sampler.sampling.stop)
        self._thoughts = ThoughtStream(prompt_end)

    def events(self) -> Iterator[Event]:
        """What is new since the last call; at the end ``done`` or ``error``."""
        answer = self.answer
        if answer.failure is not None:
            self.over = True
            yield self._event("error", message=f"{self.name} failed: {describe(answer.failure)}")
            return
        if answer.tokens and self._first_token is None:
            self._first_token = time.monotonic()
        self._take(self._text.add(answer.tokens[self._read :]))
        self._read = len(answer.tokens)
        if self._text.stopped:
            answer.finish_reason = "stop"  # the generator drops it at its next step
        if answer.finish_reason is not None:
            self._take(self._text.finish())
            self._waiting += self._thoughts.finish()
        if answer.finish_reason is not None or time.monotonic() - self._flushed >= FLUSH_SECONDS:
            yield from self._flush()
        if answer.finish_reason is not None:
            self.over = True
            yield self._done()

    def cancel(self) -> None:
        """Ends the answer before its next token."""
        if self.answer.finish_reason is None:
            self.answer.finish_reason = "cancelled"

    def _take(self, text: str) -> None:
        self._waiting += self._thoughts.add(text)

    def _flush(self) -> Iterator[Event]:
        """The text that waits, with neighbours of one kind as one event."""
        waiting, self._waiting = self._waiting, []
        joined: list[tuple[str, bool]] = []
        for text, thinking in waiting:
            if joined and joined[-1][1] == thinking:
                text = joined.pop()[0] + text
            joined.append((text, thinking))
        for text, thinking in joined:
            self._flushed = time.monotonic()
            yield self._event("token", text=text, thinking=thinking)

    def _done(self) -> Event:
        now, tokens = time.monotonic(), len(self.answer.tokens)
        first = None if self._first_token is None else round(self._first_token - self.begun, 3)
        return self._event(
            "done",
            finish_reason=self.answer.finish_reason,
            prompt_tokens=len(self.answer.prompt),
            new_tokens=tokens,
            seconds=round(now - self.begun, 3),
            first_token_seconds=first,
        )

    def _event(self, kind: str, **facts: Any) -> Event:
        return {"event": kind, "id": self.request_id, "model": self.name, **facts}
