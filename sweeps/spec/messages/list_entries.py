"""Messages about entries of lists of mappings, such as a stage's ``rewards``, in which nothing is searched."""

from __future__ import annotations

from typing import Any, Protocol

from pydantic import BaseModel

from sweeps.spec import domain_parser
from sweeps.spec.key_path import KeyPath
from sweeps.spec.problems import format_value, refusal, unknown_key_message
from sweeps.spec.tree import Branch, Leaf
from trainables.config.base import fields_by_key
from trainables.system.suggestions import did_you_mean

FILLED_KEYS = ("code_path", "code_sha256")  # by planning


class EntrySite(Protocol):
    """Where an error in an entry is. ``name``: the setting, or the entry's index where the error is about all of it.
    ``owner``: the entry's class. ``kinds``: those that an entry may have.
    """

    @property
    def name(self) -> str: ...
    @property
    def owner(self) -> type[BaseModel]: ...
    @property
    def list_name(self) -> str: ...
    @property
    def kinds(self) -> tuple[str, ...]: ...


def entry_node(value: Any, origin: KeyPath) -> Branch | Leaf:
    """An entry as a node, with its values as leaves."""
    if not isinstance(value, dict):
        return Leaf(value, origin)
    return Branch({key: Leaf(each, (*origin, key)) for key, each in value.items()}, origin)


def entry_message(site: EntrySite, error: str, value: Any) -> str | None:
    """The message for what is wrong with an entry as such, by pydantic's name of the ``error``: its kind, an unknown
    key, or a domain in the place of a value. ``None`` for other errors.
    """
    if error == "extra_forbidden":
        return unknown_key_message(
            site.name, [key for key in fields_by_key(site.owner) if key not in FILLED_KEYS]
        )
    if error.startswith("union_tag") and isinstance(value, dict):
        kinds = ", ".join(site.kinds)
        if "kind" not in value:
            return f"no kind is given. Give one of {kinds}"
        return refusal(
            f"got kind: {format_value(value['kind'])}",
            f"one of {kinds}",
            did_you_mean(str(value["kind"]), site.kinds),
        )
    if isinstance(value, dict) and (domain_parser.is_domain(value) or "compare" in value):
        return (
            f"a setting inside {site.list_name} can't be a domain; write {site.list_name}: "
            "{compare: [[...], [...]]}, with a whole list for each option"
        )
    if site.name.isdigit() and not isinstance(value, dict):
        return f"got {format_value(value)}; allowed: a mapping"
    return None
