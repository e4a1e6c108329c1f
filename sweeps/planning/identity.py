"""What of a spec decides what its trials are, and how two specs differ in that: a resumed run must have the same."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sweeps.spec.domain_parser import is_domain
from sweeps.spec.key_path import KeyPath
from sweeps.spec.problems import format_value
from sweeps.spec.schema import SECTION_CLASSES
from sweeps.spec.settings import EARLIER_SEARCH

# Limits of memory, concurrency and waiting decide when or whether a trial runs, not what it is.
RESOURCES = ("workers", "cpus", "gpus")


CHANGE_NO_TRIAL = ("question", "tracking", "finalists", "report", "claims")
MISSING = object()  # `None` is a value that a spec may give


@dataclass(frozen=True)
class Change:
    """A value that differs between two specs; ``MISSING`` where one of them has none."""

    path: KeyPath
    before: Any
    now: Any

    def __str__(self) -> str:
        if self.before is MISSING:
            return f"this run was started without it, and it is {format_value(self.now)} now"
        if self.now is MISSING:
            return f"this run was started with {format_value(self.before)}, and it is not given now"
        return (
            f"this run was started with {format_value(self.before)}, and it is {format_value(self.now)} now"
        )


def identity(resolved: Mapping[str, Any]) -> dict[str, Any]:
    """The parts of a resolved spec that decide what its trials are.

    The number of trials may grow, and so may the finalists. The question, the claims, the tracking, the report and
    most of the resources change no trial.
    """
    tree = {key: part for key, part in resolved.items() if key not in CHANGE_NO_TRIAL}
    resources = tree.get("resources") or {}
    tree["resources"] = {key: resources[key] for key in RESOURCES if key in resources}
    tree["search"] = _without_trials(tree.get("search"))
    for part in ("stages", "methods"):
        tree[part] = [_entry_without_trials(entry) for entry in tree.get(part) or ()]
    return tree


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[Change]:
    """Where two resolved specs differ in what their trials are."""
    return [
        change for change in _changes((), identity(before), identity(now)) if not _is_later_setting(change)
    ]


def _changes(path: KeyPath, before: Any, now: Any) -> Iterator[Change]:
    if _is_section(before) and _is_section(now):
        for key in dict.fromkeys([*before, *now]):
            yield from _changes((*path, key), before.get(key, MISSING), now.get(key, MISSING))
    elif _is_entries(before) and _is_entries(now):
        for index in range(max(len(before), len(now))):
            pair = (entries[index] if index < len(entries) else MISSING for entries in (before, now))
            yield from _changes((*path, index), *pair)
    # As texts, too: 1 and true are equal in Python.
    elif before != now or isinstance(before, bool) != isinstance(now, bool):
        yield Change(path, before, now)


def _is_section(value: Any) -> bool:
    """Whether a value is a mapping of settings, and no domain or comparison, which is one value."""
    return isinstance(value, dict) and not is_domain(value) and "compare" not in value


def _is_entries(value: Any) -> bool:
    return isinstance(value, list) and any(isinstance(entry, dict) for entry in value)


def _is_later_setting(change: Change) -> bool:
    """Whether a setting did not exist when the run was started, and is at its default, or as it was before it existed.

    A resolved spec holds the defaults of its sections: what is missing there was no setting then.
    """
    if len(change.path) != 2 or change.before is not MISSING:
        return False
    section, key = change.path
    if section == "search" and change.now == EARLIER_SEARCH.get(str(key), MISSING):
        return True
    cls = SECTION_CLASSES.get(str(section))
    field = cls.model_fields.get(str(key)) if cls is not None else None
    if field is None or field.is_required():
        return False
    # As JSON has it, where a tuple is a list.
    return bool(
        change.now == json.loads(json.dumps(field.get_default(call_default_factory=True), default=str))
    )


def _without_trials(search: Any) -> Any:
    if not isinstance(search, dict):
        return search
    return {key: value for key, value in search.items() if key != "trials"}


def _entry_without_trials(entry: Any) -> Any:
    if not isinstance(entry, dict) or "search" not in entry:
        return entry
    search = _without_trials(entry["search"])
    others = {key: value for key, value in entry.items() if key != "search"}
    # An entry that only changes its number of trials counts as one without `search`.
    return {**others, "search": search} if search else others
