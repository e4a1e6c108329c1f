"""Requests, responses and errors of the API in OpenAI's formats: chat completions and completions."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)

from sweeps.serving import neutral_fields
from trainables.data.rows import Message
from trainables.inference.sampling import MAX_TOP_K, MIN_TOP_P, Sampling

MAX_ANSWERS = 8  # per prompt of a request
MAX_PROMPTS = 1024  # of a request; a million of them would keep all threads waiting while they are checked
MAX_STOPS = 4
MAX_MESSAGES = 4096  # of a request
MAX_PARTS = 1024  # of a message
MAX_FIELDS = 256  # of a request: many times as many as there are


# Lists are limited before their items are checked: nothing else runs while an error is made for each item.
def _limited(value: Any, limit: int, what: str) -> Any:
    if isinstance(value, list) and len(value) > limit:
        raise ValueError(f"there are {len(value)} {what}; at most {limit} are possible")
    return value


def _stop_texts(value: Any) -> Any:
    return (value,) if isinstance(value, str) else _limited(value, MAX_STOPS, "texts")


# -1 means no limit, all tokens or any seed, as to vLLM and llama.cpp.
def _unset(value: Any) -> Any:
    return None if value == -1 else value


TokenLimit = Annotated[Annotated[int, Field(ge=1)] | None, BeforeValidator(_unset)]


class StreamOptions(BaseModel):
    """How an answer is streamed."""

    model_config = ConfigDict(extra="forbid")

    include_usage: bool = False
    include_obfuscation: bool = False  # padding against listeners, which no client needs
    continuous_usage_stats: Literal[False] = False

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, options: Any) -> Any:
        return _without_nulls(options)


def _without_nulls(value: Any) -> Any:
    return {k: v for k, v in value.items() if v is not None} if isinstance(value, dict) else value


class _GenerationRequest(BaseModel):
    """What both kinds of request have in common. A field that isn't listed is an error that names it."""

    model_config = ConfigDict(extra="forbid", strict=False)

    # The values at which fields that are not supported are accepted.
    neutral: ClassVar[Mapping[str, tuple[Any, ...]]]

    model: str
    max_tokens: TokenLimit = None
    temperature: float = Field(default=1.0, ge=0, le=2)
    top_p: float = Field(default=1.0, ge=MIN_TOP_P, le=1)
    top_k: Annotated[Annotated[int, Field(ge=0, le=MAX_TOP_K)] | None, BeforeValidator(_unset)] = None
    presence_penalty: float = Field(default=0.0, ge=-2, le=2)
    frequency_penalty: float = Field(default=0.0, ge=-2, le=2)
    n: int = Field(default=1, ge=1, le=MAX_ANSWERS)
    seed: Annotated[int | None, BeforeValidator(_unset)] = None
    stop: Annotated[tuple[str, ...], BeforeValidator(_stop_texts)] | None = None
    stream: bool = False
    stream_options: StreamOptions = StreamOptions()

    @model_validator(mode="before")
    @classmethod
    def _without_neutral_fields(cls, body: Any) -> Any:
        if not isinstance(body, dict):
            return body
        # Nothing else runs while an error is made for each of them.
        if len(body) > MAX_FIELDS:
            raise ValueError(f"there are {len(body)} fields; a request has at most {MAX_FIELDS}")
        return neutral_fields.without_neutral_fields(body, cls.neutral, cls.model_fields)

    def sampling(self, limit: int, number: int = 0) -> Sampling:
        """How the ``number``-th answer is generated, with at most ``limit`` tokens, which the server allows."""
        return Sampling(
            max_new_tokens=min(self.token_limit() or limit, limit),
            temperature=self.temperature,
            top_p=self.top_p,
            top_k=self.top_k or 0,
            presence_penalty=self.presence_penalty,
            frequency_penalty=self.frequency_penalty,
            # Each answer to a prompt has a seed of its own: with the same one, all would be the same.
            seed=None if self.seed is None else (self.seed + number) % 2**63,
            stop=tuple(filter(None, self.stop or ())),
        )

    def token_limit(self) -> int | None:
        """The maximum number of tokens of an answer that the request sets."""
        return self.max_tokens

    @property
    def streams_usage(self) -> bool:
        """Whether a streamed answer ends with a chunk that has the numbers of tokens."""
        return self.stream_options.include_usage


class TextPart(BaseModel):
    """A part of a message; only text is supported."""

    type: Literal["text"]
    text: str


def _parts(value: Any) -> Any:
    return (
        [{"type": "text", "text": value}]
        if isinstance(value, str)
        else _limited(value or (), MAX_PARTS, "parts")
    )


class ChatMessage(BaseModel):
    """A message of a conversation, as OpenAI's clients send it."""

    model_config = ConfigDict(extra="ignore")

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Annotated[tuple[TextPart, ...], BeforeValidator(_parts)] = ()

    @model_validator(mode="before")
    @classmethod
    def _has_content_alone(cls, message: Any) -> Any:
        """Refuses what would be missing in the conversation that the model gets."""
        for name in ("tool_calls", "function_call", "audio", "refusal") if isinstance(message, dict) else ():
            if message.get(name):
                raise ValueError(f"{name} of a message is not supported here, only its content is")
        return message

    def message(self) -> Message:
        """The message as chat templates take it: its parts joined, and ``developer`` as ``system``."""
        text = "".join(part.text for part in self.content)
        return {"role": "system" if self.role == "developer" else self.role, "content": text}


class ChatRequest(_GenerationRequest):
    """``POST /v1/chat/completions``"""

    neutral = neutral_fields.COMMON | neutral_fields.CHAT

    messages: list[ChatMessage] = Field(min_length=1, max_length=MAX_MESSAGES, fail_fast=True)
    max_completion_tokens: TokenLimit = None

    def token_limit(self) -> int | None:
        return self.max_completion_tokens or self.max_tokens


class CompletionRequest(_GenerationRequest):
    """``POST /v1/completions``: texts or token ids that are continued without a chat template."""

    neutral = neutral_fields.COMMON | neutral_fields.COMPLETION

    prompt: list[str | list[int]]
    max_tokens: TokenLimit = 16  # OpenAI's default

    @field_validator("prompt", mode="before")
    @classmethod
    def _as_list(cls, prompt: Any) -> Any:
        """The prompts as a list: the field also takes one text, or the token ids of one."""
        if prompt == []:
            raise ValueError(
                "it is empty; give a text or token ids, or a list of texts or of lists of token ids"
            )
        prompts = [prompt] if isinstance(prompt, str) or _are_ids(prompt) else prompt
        if isinstance(prompts, list) and len(prompts) > MAX_PROMPTS:
            raise ValueError(f"there are {len(prompts)} prompts; a request has at most {MAX_PROMPTS}")
        if isinstance(prompts, list) and all(isinstance(each, str) for each in prompts):
            return prompts
        if isinstance(prompts, list) and all(each == [] or _are_ids(each) for each in prompts):
            return prompts
        raise ValueError("it is no text, no token ids, and no list of texts or of lists of token ids")


def _are_ids(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(type(each) is int for each in value)


class ResponseBuilder:
    """Builds a response, or the chunks of a streamed one, with the fields that all of them share."""

    def __init__(self, model: str, chat: bool) -> None:
        self.chat = chat
        self.id = f"{'chatcmpl' if chat else 'cmpl'}-{secrets.token_hex(12)}"
        self.object = "chat.completion" if chat else "text_completion"
        self.name = f"{self.id} (model {model})"  # for the log
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
