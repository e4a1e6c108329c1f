"""The requests of the chat protocol: lines of JSON that ask, stop an answer, load or unload a model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

RequestId = Annotated[str, Field(max_length=200)] | int
Message = dict[str, Any]
MAX_LINE = 16 * 2**20  # characters of a request


class WrongRequest(ValueError):  # noqa: N818
    """A line that is no request; ``request_id`` is that of the request, as far as it has one."""

    def __init__(self, message: str, request_id: str | int | None = None) -> None:
        super().__init__(message)
        self.request_id = request_id


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Ask(_Request):
    """A question: the whole conversation in ``messages``, or a ``message`` after its ``history``.

    Sampling settings that are not given are those of the command. ``models``: which answer; all by default.
    """

    id: RequestId
    messages: tuple[Message, ...] | None = None
    message: str | None = None
    history: tuple[Message, ...] = ()
    system: str | None = None
    models: tuple[str, ...] | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    max_new_tokens: int | None = None
    seed: int | None = None
    stop: tuple[str, ...] | None = None

    @model_validator(mode="after")
    def _one_question(self) -> Ask:
        if (self.messages is None) == (self.message is None):
            raise ValueError("give messages, or a message (and its history), and not both")
        if self.messages is not None and self.history:
            raise ValueError("history goes with message; messages hold it already")
        for message in (*(self.messages or ()), *self.history):
            if not isinstance(message.get("role"), str) or not isinstance(message.get("content"), str):
                raise ValueError('a message is {"role": "user", "content": "..."}')
        if not self.messages and self.message is None:
            raise ValueError("messages is empty")
        return self

    def conversation(self, system: str | None) -> list[Message]:
        """The messages, behind the system message of the request or else ``system``, unless they begin with one."""
        asked = [{"role": "user", "content": self.message}] if self.messages is None else self.messages
        messages = [*self.history, *asked]
        first = self.system if self.system is not None else system
        if first and messages[0]["role"] != "system":
            return [{"role": "system", "content": first}, *messages]
        return messages

    def sampling(self) -> dict[str, Any]:
        """The sampling settings that are given."""
        names = ("temperature", "top_p", "top_k", "presence_penalty", "frequency_penalty", "max_new_tokens")
        given = {name: getattr(self, name) for name in (*names, "seed", "stop")}
        return {name: value for name, value in given.items() if value is not None}


class Stop(_Request):
    """Stops the answers to the request of that id at the next token."""

    stop: RequestId


class Load(_Request):
    """Loads another model."""

    load: Annotated[str, Field(min_length=1)]


class Unload(_Request):
    """Removes a model from memory; its answers are cancelled."""

    unload: str


Request = Ask | Stop | Load | Unload
# A line is what its key says; "stop" beside an id is a setting of a question.
KINDS: Sequence[tuple[str, type[Request]]] = (("id", Ask), ("stop", Stop), ("load", Load), ("unload", Unload))


def parse_request(line: str) -> Request:
    """The request that a line of JSON stands for. Raises :class:`WrongRequest`.

    >>> parse_request('{"stop": 7}')
    Stop(stop=7)
    """
    if len(line) > MAX_LINE:
        raise WrongRequest(f"a request has at most {MAX_LINE:,} characters")
    try:
        tree = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise WrongRequest(f"not a line of JSON: {error}") from None
    if not isinstance(tree, dict):
        raise WrongRequest("a request is an object: {...}")
    cls = next((cls for key, cls in KINDS if key in tree), None)
    if cls is None:
        raise WrongRequest(f"give one of {', '.join(key for key, _ in KINDS)}")
    known_id = tree.get("id") if isinstance(tree.get("id"), str | int) else None
    try:
        return cls.model_validate_json(line)
    except ValidationError as error:
        raise WrongRequest(_message(error), known_id) from None


def _message(error: ValidationError) -> str:
    problems = error.errors(include_url=False, include_input=False)
    return "; ".join(_problem(each["loc"], each["msg"]) for each in problems)


def _problem(location: tuple[int | str, ...], message: str) -> str:
    key = str(location[0]) if location else ""
    what = message.removeprefix("Value error, ")
    return f"{key}: {what}" if key else what
