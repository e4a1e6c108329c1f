"""Names that W&B refuses, by the checks of its client: known before a run instead of from a tracker that ends."""

from __future__ import annotations

from typing import Literal

from sweeps.spec.problems import format_value

Kind = Literal["entity", "project"]
KINDS: tuple[Kind, ...] = ("entity", "project")
REFUSED = "/\\#?%:"  # they have a meaning in the address of a run
MAX_LENGTH = 128  # characters of a project, an entity, a run, an artifact, the title of a report
MAX_TAG_LENGTH = 64

# An entity is part of addresses as it stands, a project's name is not.
_WITHOUT_SPACES = ("entity",)


def name_fault(kind: Kind, name: str) -> str | None:
    """What W&B refuses in the name of a project or an entity, and a name that it takes; ``None`` if it is fine.

    >>> name_fault("project", "a:b")
    "W&B refuses the character : in the name of a project, got 'a:b'. Did you mean a-b?"
    """
    got = f"in the name of {'an' if kind == 'entity' else 'a'} {kind}, got {format_value(name)}"
    if not name.strip():
        return f"W&B needs a character other than space {got}"
    if len(name) > MAX_LENGTH:
        return f"W&B takes at most {MAX_LENGTH} characters {got}, which has {len(name)}"
    if name != name.strip():
        return f"W&B refuses space at the beginning or end {got}. Did you mean {name.strip()}?"
    refused = [character for character in dict.fromkeys(name) if _is_refused(kind, character)]
    if not refused:
        return None
    characters = f"character{'s' if len(refused) > 1 else ''} {' '.join(map(_shown, refused))}"
    return f"W&B refuses the {characters} {got}. Did you mean {_suggestion(kind, name)}?"


def tag_fault(tag: str) -> str | None:
    """What W&B refuses in a tag; ``None`` if it is fine."""
    if 1 <= len(tag) <= MAX_TAG_LENGTH:
        return None
    return f"a tag has 1 to {MAX_TAG_LENGTH} characters, got {format_value(tag)}, which has {len(tag)}"


def _is_refused(kind: str, character: str) -> bool:
    spaced = kind in _WITHOUT_SPACES and character.isspace()
    return character in REFUSED or not character.isprintable() or spaced


def _shown(character: str) -> str:
    return character if character.isprintable() and not character.isspace() else format_value(character)


def _suggestion(kind: str, name: str) -> str:
    entity, _, project = name.partition("/")
    if kind == "project" and entity and project and "/" not in project:
        return f"entity: {_accepted('entity', entity)}, project: {_accepted(kind, project)}"
    return _accepted(kind, name)


def _accepted(kind: str, name: str) -> str:
    kept = "".join("-" if _is_refused(kind, character) else character for character in name)
    return kept.strip("- ") or "paretune"
