"""The answer of a run as it stands now, by ``paretune report RUN --json``; until that has come, by its last report."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from sweeps.ui.snapshots.computed import ComputedValues, json_of
from trainables.storage.damaged_files import DamagedFile, read_object
from trainables.system.redaction import redacted_values

if TYPE_CHECKING:
    from sweeps.ui.snapshots.followed import Followed

PARTS = ("claims", "answers", "importance", "translations")


def answers() -> ComputedValues:
    return ComputedValues(_compute, ended, _of_last_report)


def ended(followed: Followed) -> Any:
    """What an answer follows from: the trials that have ended."""
    head = followed.snapshot.head if followed.snapshot is not None else {}
    statuses = head.get("statuses", {})
    return [head.get("ended"), statuses.get("done"), statuses.get("failed"), head.get("state") == "done"]


def in_language(value: Any, language: str) -> Any:
    """An answer with the sentences of a language, and the ``language`` that they are in: English, where a report has
    no others.
    """
    if not isinstance(value, dict):
        return value
    translations = value.get("translations")
    others = translations.get(language) if isinstance(translations, dict) else None
    english = {name: value[name] for name in value if name != "translations"} | {"language": "en"}
    return {**english, **others, "language": language} if isinstance(others, dict) else english


async def _compute(followed: Followed) -> Any:
    from sweeps.ui.children.command_line import operand

    value = await json_of(["-m", "sweeps.cli", "report", operand(followed.entry.location), "--json"])
    return _parts(value)


def _of_last_report(followed: Followed) -> Any:
    if followed.reader is None:
        return None
    path = followed.reader.folder / "report" / "report.json"
    try:
        return _parts(read_object(path)) if path.is_file() else None
    except DamagedFile:
        return None


def _parts(value: Any) -> Any:
    if not isinstance(value, dict):
        return None
    # Through JSON once more: what a file holds may be of any depth, and no number for a browser.
    found = {name: value[name] for name in PARTS if name in value}
    return redacted_values(json.loads(json.dumps(found), parse_constant=lambda _: None))
