"""Refuses YAML that a spec has no use for, before any value is built: objects, huge values, invisible characters."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError

from trainables.config import limits

PLAIN_TAGS = {f"tag:yaml.org,2002:{kind}" for kind in ("str", "int", "float", "bool", "null", "map", "seq")}
# Control characters, which a terminal obeys and a path can't hold, and unpaired surrogates.
INVISIBLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
NUMBER = re.compile(r"[-+]?[\d_]+(\.[\d_]*)?|[-+]?0[xXoO][\da-fA-F_]+")


def check_yaml(text: str) -> None:
    """Raises ``UnsafeYAML`` for YAML that a spec has no use for, within a second or two.

    It reads the parser's events, whose number is bounded by the length of the text: an alias is one event, however
    many values it stands for.
    """
    if len(text) > limits.SPEC_BYTES:
        raise UnsafeYAML(f"a spec has at most {limits.SPEC_BYTES:,} characters; this has more")
    checker = _EventChecker()
    for event in YAML(typ="rt").parse(text):
        checker.check(event)


class UnsafeYAML(MarkedYAMLError):  # noqa: N818
    """YAML that is refused; carries its place in the text, as YAML's own errors do."""

    def __init__(self, what: str, mark: Any = None) -> None:
        super().__init__(problem=what, problem_mark=mark)


@dataclass
class _OpenCollection:
    """A list or mapping that has not ended: its size so far, with every alias written out."""

    anchor: str | None
    values: int = 1
    depth: int = 1


@dataclass
class _EventChecker:
    """Counts values and nesting event by event, as if every alias were written out."""

    open: list[_OpenCollection] = field(default_factory=lambda: [_OpenCollection(None)])  # innermost last
    anchored: dict[str, tuple[int, int]] = field(default_factory=dict)  # by anchor: values, depth

    def check(self, event: Any) -> None:
        kind, mark = type(event).__name__, event.start_mark
        if (tag := getattr(event, "ctag", None)) is not None and str(tag) not in PLAIN_TAGS:
            what = f"a tag ({format_tag(str(tag))}): a spec holds plain values, not objects. Remove it"
            raise UnsafeYAML(what, mark)
        if kind in ("SequenceStartEvent", "MappingStartEvent"):
            # Checked when a collection opens, too: a text of opening brackets alone has no end event. The
            # first of `open` stands for the document, so one less than its length are nested.
            self.open.append(_OpenCollection(event.anchor))
            self._check_limits(len(self.open) - 1, 0, mark)
        elif kind in ("SequenceEndEvent", "MappingEndEvent"):
            ended = self.open.pop()
            self._add(ended.anchor, ended.values, ended.depth, mark)
        elif kind == "ScalarEvent":
            _check_scalar(event, mark)
            self._add(event.anchor, 1, 0, mark)
        elif kind == "AliasEvent":
            # An alias to a collection that is still open would contain itself.
            if any(collection.anchor == event.anchor for collection in self.open):
                raise UnsafeYAML(f"*{event.anchor} contains itself. Write the value out", mark)
            # An unknown anchor counts as one value: ruamel refuses it when it composes the tree.
            self._add(None, *self.anchored.get(event.anchor, (1, 0)), mark)

    def _add(self, anchor: str | None, values: int, depth: int, mark: Any) -> None:
        """Adds a finished value to the collection around it."""
        if anchor is not None:
            self.anchored[anchor] = values, depth
        parent = self.open[-1]
        parent.values += values
        parent.depth = max(parent.depth, depth + 1)
        # An alias adds the depth of what it stands for to that of the collections that are open here.
        self._check_limits(len(self.open) - 1 + depth, parent.values, mark)

    def _check_limits(self, depth: int, values: int, mark: Any) -> None:
        if depth > limits.SPEC_DEPTH:
            what = f"values are nested more than {limits.SPEC_DEPTH} deep. Make them flatter"
            raise UnsafeYAML(what, mark)
        if values > limits.SPEC_VALUES:
            what = f"a spec holds at most {limits.SPEC_VALUES:,} values, counting those that an alias (*name) repeats"
            raise UnsafeYAML(what, mark)


def _check_scalar(event: Any, mark: Any) -> None:
    # ruamel marks with a bell where a folded text (>) was folded; one that somebody wrote there is refused before.
    text = event.value.replace("\a", "") if event.style == ">" else event.value
    if (invisible := INVISIBLE.search(text)) is not None:
        raise UnsafeYAML(f"a character that can't be seen ({invisible[0]!r}). Remove it", mark)
    # Python takes quadratic time for numbers of so many digits.
    if event.style is None and len(event.value) > limits.DIGITS and NUMBER.fullmatch(event.value):
        what = f"a number has at most {limits.DIGITS} digits, and this one has {len(event.value):,}"
        raise UnsafeYAML(f"{what}; put a text that looks like a number in quotes", mark)


def format_tag(tag: str) -> str:
    """A tag as it is written: ``!!python/name:os.system``."""
    return tag.replace("tag:yaml.org,2002:", "!!")
