"""What a command has written: events and the result from the JSON lines of its output, and the end of its log.

>>> output = OutputParser()
>>> output.feed('{"event": "progress", "done": 1, "total": 4}\\n{"event": "result", "folder": "out"}\\n')
>>> output.value().progress, output.value().result
({'done': 1, 'total': 4}, {'folder': 'out'})
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trainables.storage.regular_files import tail
from trainables.system.redaction import redacted
from trainables.system.shown_text import shown

LOG_BYTES = 200_000
OUTPUT_BYTES = 64 * 2**20  # an evaluation's findings are a few MB at most
TEXT_CHARACTERS = 20_000
MAX_EVENTS = 500  # warnings and errors that a page shows


@dataclass(frozen=True)
class JobOutput:
    """The ``result`` is the object of the event ``result``, or the whole output where that is one JSON value. ``text``:
    the end of an output that is not JSON, as pages may show it.
    """

    progress: dict[str, Any] | None = None
    result: Any = None
    events: tuple[dict[str, Any], ...] = ()
    text: str = ""


@dataclass
class OutputParser:
    """Reads an output in pieces, as it grows. Lines that are no events are kept: together they may be one value."""

    progress: dict[str, Any] | None = None
    result: Any = None
    events: list[dict[str, Any]] = field(default_factory=list)
    other_lines: list[str] = field(default_factory=list)

    def feed(self, lines: str) -> None:
        """Takes complete lines. Secrets in them are hidden."""
        for line in redacted(lines).split("\n"):
            event = _value(line) if line.startswith("{") else None
            if not isinstance(event, dict) or "event" not in event:
                self.other_lines.append(line)
                continue
            kind = event.pop("event")
            if kind == "progress":
                self.progress = event
            elif kind == "result":
                self.result = event
            elif len(self.events) < MAX_EVENTS:
                self.events.append({"event": str(kind), **event})

    def value(self) -> JobOutput:
        text = "\n".join(self.other_lines)
        nothing = self.result is None and self.progress is None and not self.events
        result = _value(text) if nothing else self.result
        return JobOutput(
            self.progress, result, tuple(self.events), "" if result else shown(text[-TEXT_CHARACTERS:])
        )


class OutputFile:
    """The output of a command that may still be writing: each reading goes on where the last one ended."""

    def __init__(self, path: Path) -> None:
        self.path, self.offset, self.parser = path, 0, OutputParser()

    def read(self, ended: bool = False) -> JobOutput:
        """The output so far. The last line may be incomplete unless the command has ``ended``."""
        try:
            with self.path.open("rb") as file:
                file.seek(self.offset)
                content = file.read(OUTPUT_BYTES - self.offset)
        except OSError:
            content = b""
        complete = content if ended else content[: content.rfind(b"\n") + 1]
        if complete:
            self.offset += len(complete)
            self.parser.feed(complete.decode("utf-8", errors="replace").removesuffix("\n"))
        return self.parser.value()


def read_log(path: Path) -> str:
    """The end of a log, as pages may show it: without secrets, with pictures for control characters."""
    lines = tail(path, LOG_BYTES).split("\n")
    # A progress bar writes its line again after each carriage return; only the last one is shown.
    return shown(redacted("\n".join(line.rstrip("\r").rpartition("\r")[2] for line in lines)))


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
