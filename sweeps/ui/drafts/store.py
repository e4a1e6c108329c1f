"""Drafts of specs, each in a file of the home folder, so that another browser and a later UI have them."""

from __future__ import annotations

import json
import re
import secrets
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from trainables.config import limits
from trainables.storage import files
from trainables.storage.home import home
from trainables.storage.locks import locked

ID = re.compile(r"[0-9a-f]{16}")
SHOWN = 50  # drafts in the list
LOCK = ".lock"


@dataclass(frozen=True)
class Draft:
    """``version`` grows with every change. ``origin``: what the draft was made from, in words for the list."""

    id: str
    name: str
    text: str
    version: int
    origin: str
    changed_at: float  # seconds since 1970


class Outdated(Exception):  # noqa: N818
    """A change of a draft that somebody else has changed meanwhile; ``newer`` is what it is now."""

    def __init__(self, newer: Draft) -> None:
        super().__init__(f"the draft was changed elsewhere; its version is {newer.version}")
        self.newer = newer


class TooLong(ValueError):  # noqa: N818
    """A text that is longer than a spec may be."""


@dataclass(frozen=True)
class DraftStore:
    """The drafts in a folder, by default those of this user."""

    folder: Path

    @classmethod
    def at_home(cls) -> DraftStore:
        return cls(home() / "ui" / "drafts")

    def create(self, text: str, name: str, origin: str) -> Draft:
        """A new draft. Raises :class:`TooLong`."""
        draft = Draft(secrets.token_hex(8), name, _checked(text), 1, origin, time.time())
        self._write(draft)
        return draft

    def get(self, draft_id: str) -> Draft | None:
        """The draft with this id; ``None`` if there is none, or if its file is damaged."""
        path = self.folder / f"{draft_id}.json"
        if not ID.fullmatch(draft_id) or path.is_symlink():
            return None
        try:
            match json.loads(path.read_text(encoding="utf-8")):
                case {
                    "name": str(name),
                    "text": str(text),
                    "version": int(version),
                    "origin": str(origin),
                } as found:
                    changed = found.get("changed_at")
                    at = float(changed) if isinstance(changed, int | float) else 0.0
                    return Draft(draft_id, name, text, version, origin, at)
        except (OSError, ValueError):
            pass
        return None

    def save(self, draft_id: str, text: str, version: int, name: str | None = None) -> Draft | None:
        """Replaces a draft's text, if its version is still ``version``; ``None`` if there is no such draft.

        Raises :class:`Outdated` with the newer draft, and :class:`TooLong`.
        """
        with locked(self.folder / LOCK):
            draft = self.get(draft_id)
            if draft is None:
                return None
            if draft.text == text and name in (None, draft.name):
                return draft
            if draft.version != version:
                raise Outdated(draft)
            changed = replace(
                draft,
                text=_checked(text),
                name=name or draft.name,
                version=version + 1,
                changed_at=time.time(),
            )
            self._write(changed)
            return changed

    def remove(self, draft_id: str) -> None:
        if ID.fullmatch(draft_id):
            (self.folder / f"{draft_id}.json").unlink(missing_ok=True)

    def list(self) -> list[Draft]:
        """The newest drafts, newest first."""
        return sorted(self._all(), key=lambda draft: draft.changed_at, reverse=True)[:SHOWN]

    def _all(self) -> Iterator[Draft]:
        for path in self.folder.glob("*.json"):
            if (draft := self.get(path.stem)) is not None:
                yield draft

    def _write(self, draft: Draft) -> None:
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        values = asdict(draft)
        values.pop("id")
        files.write_json(self.folder / f"{draft.id}.json", values)


def _checked(text: str) -> str:
    size = len(text.encode("utf-8", "surrogatepass"))
    if size > limits.SPEC_BYTES:
        raise TooLong(f"the text has {size:,} bytes; a spec has at most {limits.SPEC_BYTES:,}")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise TooLong("the text contains half of a character; type it again") from None
    # As YAML reads them; a browser's text field has no others anyway.
    return text.replace("\r\n", "\n").replace("\r", "\n")
