"""What a page asks for: answers of models to messages, and how they are sampled."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

from sweeps.ui.chats.chat import MAX_MODELS

ANSWER_ID = re.compile(r"[0-9a-zA-Z-]{1,64}")
ROLES = ("system", "user", "assistant")
MAX_MESSAGES = 1000
# The settings and their limits as `paretune chat` has them; it checks them again.
WHOLE = {"max_new_tokens": (1, 2**20), "top_k": (0, 2**20), "seed": (0, 2**63 - 1)}
NUMBERS = {
    "temperature": (0.0, 5.0),
    "top_p": (1e-6, 1.0),
    "presence_penalty": (-2.0, 2.0),
    "frequency_penalty": (-2.0, 2.0),
}


class WrongRequest(ValueError):  # noqa: N818
    """A request that can't be asked of a model; the message can be shown."""


@dataclass(frozen=True)
class Wanted:
    """An answer of ``model`` to ``messages`` that a page names ``id``."""

    id: str
    model: str
    messages: list[dict[str, str]]


def answer_request(values: dict[str, Any]) -> list[Wanted]:
    """The answers that a request asks for. Raises :class:`WrongRequest`."""
    answers = values.get("answers")
    if not isinstance(answers, list) or not 1 <= len(answers) <= MAX_MODELS:
        raise WrongRequest(f"ask one to {MAX_MODELS} models")
    return [_wanted(each) for each in answers]


def _wanted(value: Any) -> Wanted:
    match value:
        case {"id": str(answer_id), "model": str(model), "messages": list(messages)} if ANSWER_ID.fullmatch(
            answer_id
        ):
            return Wanted(answer_id, model, _messages(messages))
    raise WrongRequest("an answer needs an id, a model and messages")


def _messages(messages: list[Any]) -> list[dict[str, str]]:
    if not 1 <= len(messages) <= MAX_MESSAGES:
        raise WrongRequest(f"a conversation has 1 to {MAX_MESSAGES} messages")
    checked = []
    for each in messages:
        match each:
            case {"role": str(role), "content": str(content)} if role in ROLES:
                checked.append({"role": role, "content": content})
            case _:
                raise WrongRequest(f"a message has a role ({', '.join(ROLES)}) and a text")
    return checked


def sampling_of(values: dict[str, Any]) -> dict[str, Any]:
    """The sampling settings that were given. Raises :class:`WrongRequest` that names one out of its range."""
    given = values.get("sampling") or {}
    if not isinstance(given, dict):
        raise WrongRequest("sampling is an object")
    sampling: dict[str, Any] = {}
    for name, value in given.items():
        if name == "stop":
            sampling["stop"] = _stops(value)
        elif name in WHOLE or name in NUMBERS:
            sampling[name] = _number(name, value)
        else:
            raise WrongRequest(f"there is no setting {name!r}")
    return sampling


def _number(name: str, value: Any) -> float:
    low, high = WHOLE.get(name) or NUMBERS[name]
    kind = int if name in WHOLE else int | float
    if (
        isinstance(value, bool)
        or not isinstance(value, kind)
        or not math.isfinite(value)
        or not low <= value <= high
    ):
        raise WrongRequest(
            f"{name}: a {'whole ' if name in WHOLE else ''}number from {low:g} to {high:g} is expected"
        )
    return value


def _stops(value: Any) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(each, str) and each for each in value):
        raise WrongRequest("stop: a list of texts is expected")
    return value
