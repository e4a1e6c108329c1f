"""Requests, responses and errors of the API in OpenAI's formats: chat completions and completions."""

from __future__ import annotations

import secrets
import time
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from trainables.data.rows import Message
from trainables.inference.sampling import Sampling

MAX_ANSWERS = 8  # per prompt of a request
# Fields that clients send and that don't affect an answer.
IGNORED_FIELDS = ("user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key")


class ApiError(Exception):
    """An error in OpenAI's format. ``param`` names the field of the request; ``code`` is for programs."""

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


def _as_tuple(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


class _GenerationRequest(BaseModel):
    """What both kinds of request have in common. A field that isn't listed is an error that names it."""

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
    stop: Annotated[tuple[str, ...], BeforeValidator(_as_tuple), Field(max_length=4)] | None = None
    stream: bool = False
    stream_options: dict[str, bool] | None = None

    @model_validator(mode="before")
    @classmethod
    def _without_ignored_fields(cls, body: Any) -> Any:
        """Drops fields that are ``None``, which means not set, and those that don't affect an answer."""
        if not isinstance(body, dict):
            return body
        return {key: value for key, value in body.items() if value is not None and key not in IGNORED_FIELDS}

    def sampling(self, limit: int, number: int = 0) -> Sampling:
        """How the ``number``-th answer is generated, with at most ``limit`` tokens, which the server allows."""
        return Sampling(
            max_new_tokens=min(self.token_limit() or limit, limit),
            temperature=self.temperature,
            top_p=self.top_p,
            top_k=self.top_k,
            presence_penalty=self.presence_penalty,
            frequency_penalty=self.frequency_penalty,
            # Each answer to a prompt has a seed of its own: with the same one, all would be the same.
            seed=None if self.seed is None else (self.seed + number) % 2**63,
            stop=self.stop or (),
        )

    def token_limit(self) -> int | None:
        """The maximum number of tokens of an answer that the request sets."""
        return self.max_tokens

    @property
    def streams_usage(self) -> bool:
        """Whether a streamed answer ends with a chunk that has the numbers of tokens."""
        return bool(self.stream_options and self.stream_options.get("include_usage"))


class TextPart(BaseModel):
    """A part of a message; only text is supported."""

    type: Literal["text"]
    text: str


def _parts(value: Any) -> Any:
    return [{"type": "text", "text": value}] if isinstance(value, str) else value or ()


class ChatMessage(BaseModel):
    """A message of a conversation, as OpenAI's clients send it."""

    model_config = ConfigDict(extra="ignore")

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Annotated[tuple[TextPart, ...], BeforeValidator(_parts)] = ()

    def message(self) -> Message:
        """The message as chat templates take it: its parts joined, and ``developer`` as ``system``."""
        text = "".join(part.text for part in self.content)
        return {"role": "system" if self.role == "developer" else self.role, "content": text}


class ChatRequest(_GenerationRequest):
    """``POST /v1/chat/completions``"""

    messages: list[ChatMessage] = Field(min_length=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)

    def token_limit(self) -> int | None:
        return self.max_completion_tokens or self.max_tokens


class CompletionRequest(_GenerationRequest):
    """``POST /v1/completions``: texts or token ids that are continued without a chat template."""

    prompt: str | list[str] | list[int] | list[list[int]]
    max_tokens: int | None = Field(default=16, ge=1)  # OpenAI's default

    def prompts(self) -> list[str | list[int]]:
        """The prompts as a list: the field also takes one text, or the token ids of one."""
        prompt: Any = self.prompt
        if isinstance(prompt, str) or (prompt and isinstance(prompt[0], int)):
            return [prompt]
        return list(prompt)


class ResponseBuilder:
    """Builds a response, or the chunks of a streamed one, with the fields that all of them share."""

    def __init__(self, model: str, chat: bool) -> None:
        self.chat = chat
        self.id = f"{'chatcmpl' if chat else 'cmpl'}-{secrets.token_hex(12)}"
        self.object = "chat.completion" if chat else "text_completion"
        self._shared = {"id": self.id, "created": int(time.time()), "model": model}

    def response(self, texts: list[str], reasons: list[str], usage: dict[str, int]) -> dict[str, Any]:
        choices = [
            {"index": index, "finish_reason": reason, "logprobs": None, **self._content(text)}
            for index, (text, reason) in enumerate(zip(texts, reasons, strict=True))
        ]
        return {**self._shared, "object": self.object, "choices": choices, "usage": usage}

    def _content(self, text: str) -> dict[str, Any]:
        return {"message": {"role": "assistant", "content": text}} if self.chat else {"text": text}

    def chunk(self, index: int, text: str, reason: str | None = None, first: bool = False) -> dict[str, Any]:
        """A piece of the streamed answer number ``index``; the last one has the ``reason`` why the answer ended."""
        # The first chunk has the role and an empty text, the last one an empty delta, as clients expect.
        delta: dict[str, Any] = ({"role": "assistant"} if first else {}) | (
            {"content": text} if text or first else {}
        )
        content = {"delta": delta} if self.chat else {"text": text}
        choice = {"index": index, "finish_reason": reason, "logprobs": None, **content}
        return {**self._shared, "object": self._chunk_object(), "choices": [choice]}

    def usage_chunk(self, usage: dict[str, int]) -> dict[str, Any]:
        """The last chunk of a streamed response, with the numbers of tokens."""
        return {**self._shared, "object": self._chunk_object(), "choices": [], "usage": usage}

    def _chunk_object(self) -> str:
        return f"{self.object}.chunk" if self.chat else self.object


def usage(prompt_tokens: int, answer_tokens: int) -> dict[str, int]:
    """The numbers of tokens in the prompts and in the answers."""
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": answer_tokens,
        "total_tokens": prompt_tokens + answer_tokens,
    }
