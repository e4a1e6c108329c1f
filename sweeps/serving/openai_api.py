"""What is asked of the API and what it answers: OpenAI's shapes of chat completions, completions and errors."""

from __future__ import annotations

import secrets
import time
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from trainables.data.rows import Message
from trainables.inference.sampling import Sampling

MAX_ANSWERS = 8  # to one request
# What clients send along and is of no use here; it changes no answer.
IGNORED_FIELDS = ("user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key")


class ApiError(Exception):
    """An error in OpenAI's shape. ``param`` is what it is about, ``code`` is for programs."""

    def __init__(
        self,
        message: str,
        status: int = 400,
        kind: str = "invalid_request_error",
        param: str | None = None,
        code: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"error": {"message": message, "type": kind, "param": param, "code": code}}


def _stops(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


class _GenerationRequest(BaseModel):
    """``max_tokens`` of an answer are at most what the server allows. What isn't listed is refused by its name."""

    model_config = ConfigDict(extra="forbid", strict=False)

    model: str
    max_tokens: int | None = Field(default=None, ge=1)
    temperature: float = Field(default=1.0, ge=0, le=2)
    top_p: float = Field(default=1.0, gt=0, le=1)
    top_k: int = Field(default=0, ge=0)
    presence_penalty: float = Field(default=0.0, ge=-2, le=2)
    frequency_penalty: float = Field(default=0.0, ge=-2, le=2)
    n: int = Field(default=1, ge=1, le=MAX_ANSWERS)
    seed: int | None = None
    stop: Annotated[tuple[str, ...], BeforeValidator(_stops), Field(max_length=4)] | None = None
    stream: bool = False
    stream_options: dict[str, bool] | None = None

    @model_validator(mode="before")
    @classmethod
    def _without_what_says_nothing(cls, given: Any) -> Any:
        """``None`` is what isn't given; some other settings don't matter."""
        if not isinstance(given, dict):
            return given
        return {key: value for key, value in given.items() if value is not None and key not in IGNORED_FIELDS}

    def sampling(self, most: int, number: int = 0) -> Sampling:
        """How the ``number``-th answer is drawn; ``most`` tokens are allowed."""
        return Sampling(
            max_new_tokens=min(self.wanted() or most, most),
            temperature=self.temperature,
            top_p=self.top_p,
            top_k=self.top_k,
            presence_penalty=self.presence_penalty,
            frequency_penalty=self.frequency_penalty,
            seed=None if self.seed is None else (self.seed + number) % 2**63,
            stop=self.stop or (),
        )

    def wanted(self) -> int | None:
        return self.max_tokens

    @property
    def counts_at_the_end(self) -> bool:
        return bool(self.stream_options and self.stream_options.get("include_usage"))


class TextPart(BaseModel):
    """A piece of a message; models here read text alone."""

    type: Literal["text"]
    text: str


def _parts(value: Any) -> Any:
    return [{"type": "text", "text": value}] if isinstance(value, str) else value or ()


class ChatMessage(BaseModel):
    """A message, as OpenAI's clients write it."""

    model_config = ConfigDict(extra="ignore")

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Annotated[tuple[TextPart, ...], BeforeValidator(_parts)] = ()

    def message(self) -> Message:
        text = "".join(part.text for part in self.content)
        return {"role": "system" if self.role == "developer" else self.role, "content": text}


class ChatRequest(_GenerationRequest):
    """``POST /v1/chat/completions``"""

    messages: list[ChatMessage] = Field(min_length=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)

    def wanted(self) -> int | None:
        return self.max_completion_tokens or self.max_tokens


class CompletionRequest(_GenerationRequest):
    """``POST /v1/completions``: texts, or tokens, that are gone on with as they are."""

    prompt: str | list[str] | list[int] | list[list[int]]
    max_tokens: int | None = Field(default=16, ge=1)  # OpenAI's default

    def prompts(self) -> list[str | list[int]]:
        given: Any = self.prompt
        if isinstance(given, str) or (given and isinstance(given[0], int)):
            return [given]
        return list(given)


class ResponseBuilder:
    """The head that all parts of one response share."""

    def __init__(self, model: str, chat: bool) -> None:
        self.chat = chat
        self.id = f"{'chatcmpl' if chat else 'cmpl'}-{secrets.token_hex(12)}"
        self.kind = "chat.completion" if chat else "text_completion"
        self._head = {"id": self.id, "created": int(time.time()), "model": model}

    def whole(self, texts: list[str], reasons: list[str], usage: dict[str, int]) -> dict[str, Any]:
        choices = [
            {"index": index, "finish_reason": reason, "logprobs": None, **self._said(text)}
            for index, (text, reason) in enumerate(zip(texts, reasons, strict=True))
        ]
        return {**self._head, "object": self.kind, "choices": choices, "usage": usage}

    def _said(self, text: str) -> dict[str, Any]:
        return {"message": {"role": "assistant", "content": text}} if self.chat else {"text": text}

    def piece(self, index: int, text: str, reason: str | None = None, first: bool = False) -> dict[str, Any]:
        """A part of an answer that is streamed; its ``reason`` to end comes with the last."""
        delta: dict[str, Any] = ({"role": "assistant"} if first else {}) | (
            {"content": text} if text or first else {}
        )
        said = {"delta": delta} if self.chat else {"text": text}
        choice = {"index": index, "finish_reason": reason, "logprobs": None, **said}
        return {**self._head, "object": f"{self.kind}.chunk" if self.chat else self.kind, "choices": [choice]}

    def counted(self, usage: dict[str, int]) -> dict[str, Any]:
        return {
            **self._head,
            "object": f"{self.kind}.chunk" if self.chat else self.kind,
            "choices": [],
            "usage": usage,
        }


def usage(prompts: int, answers: int) -> dict[str, int]:
    """Tokens read and generated."""
    return {"prompt_tokens": prompts, "completion_tokens": answers, "total_tokens": prompts + answers}
