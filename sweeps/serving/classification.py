"""``POST /classify``: texts or a conversation, and the labels that a classifier gives them, in vLLM's form."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from sweeps.serving.openai_api import MAX_MESSAGES, MAX_PROMPTS, ChatMessage
from trainables.data.rows import Message
from trainables.inference.classify import GivenLabels


def _texts(value: Any) -> Any:
    texts = [value] if isinstance(value, str) else value
    if isinstance(texts, list) and len(texts) > MAX_PROMPTS:
        raise ValueError(f"there are {len(texts)} texts; a request has at most {MAX_PROMPTS}")
    return texts


class ClassifyRequest(BaseModel):
    """``input``: one text or several; or ``messages``: one conversation."""

    model_config = ConfigDict(extra="forbid")

    neutral: ClassVar[dict[str, tuple[Any, ...]]] = {}

    model: str
    input: Annotated[Annotated[list[str], Field(min_length=1)] | None, BeforeValidator(_texts)] = None
    messages: (
        Annotated[list[ChatMessage], Field(min_length=1, max_length=MAX_MESSAGES, fail_fast=True)] | None
    ) = None
    user: str | None = None  # OpenAI's clients send it along; it changes nothing

    @model_validator(mode="after")
    def _has_one_kind(self) -> ClassifyRequest:
        if (self.input is None) == (self.messages is None):
            raise ValueError("give input, a text or a list of texts, or messages, one conversation")
        return self

    def conversations(self) -> list[list[Message]]:
        """What is to be classified, each as messages."""
        if self.messages is not None:
            return [[each.message() for each in self.messages]]
        return [[{"role": "user", "content": text}] for text in self.input or ()]


def classify_response(model: str, found: Sequence[GivenLabels], several: bool) -> dict[str, Any]:
    """The response. ``label`` is the likeliest one; where ``several`` may apply, ``labels`` are those likelier than
    not, and each probability is of that label alone.
    """
    data = []
    for index, each in enumerate(found):
        likeliest = max(each.probabilities, key=lambda label: each.probabilities[label])
        entry: dict[str, Any] = {
            "index": index,
            "label": likeliest,
            "probs": list(each.probabilities.values()),
            "num_classes": len(each.probabilities),
            "probabilities": each.probabilities,
            "truncated": each.truncated,
        }
        data.append({**entry, "labels": list(each.labels)} if several else entry)
    tokens = sum(each.tokens for each in found)
    return {
        "id": f"classify-{secrets.token_hex(12)}",
        "object": "list",
        "created": int(time.time()),
        "model": model,
        "data": data,
        "usage": {"prompt_tokens": tokens, "completion_tokens": 0, "total_tokens": tokens},
    }
