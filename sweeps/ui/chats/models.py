"""What a chat knows of its models and of the answers that they are writing."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from sweeps.ui.refusal_kinds import translations

MAX_ANSWERS = 64  # that a page which connects again gets; it keeps older ones itself


@dataclass
class ChatModel:
    """A model of a chat. ``id``: the page's name of it; ``bytes``: what it takes in memory, as the process says."""

    id: str
    label: str
    argument: str
    state: Literal["loading", "ready", "failed"] = "loading"
    message: str | None = None
    bytes: int | None = None
    note: str | None = None  # why its answers are slow

    def to_json(self) -> dict[str, Any]:
        values = asdict(self)
        del values["argument"]  # a path of this machine, which pages need not know
        return values | {"translations": translations(self.message or "")}


@dataclass
class Answer:
    """An answer as far as it has come."""

    id: str
    model: str
    text: str = ""
    thoughts: str = ""
    state: Literal["waiting", "running", "done", "stopped", "failed"] = "waiting"
    message: str | None = None
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def ended(self) -> bool:
        return self.state in ("done", "stopped", "failed")

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"translations": translations(self.message or "")}
