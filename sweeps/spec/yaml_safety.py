"""What YAML may not do here, known before anything is made of it: build objects, grow without end, hide characters."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError

from trainables.config import limits

PLAIN = {f"tag:yaml.org,2002:{kind}" for kind in ("str", "int", "float", "bool", "null", "map", "seq")}
# A terminal would obey them, a path can't hold them, and half a character is none.
HIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
NUMBER = re.compile(r"[-+]?[\d_]+(\.[\d_]*)?|[-+]?0[xXoO][\da-fA-F_]+")


def check_yaml(text: str) -> None:
    """Raises ``MarkedYAMLError`` for YAML that a spec has no use for, within a second or two.

    It looks at the parser's events, of which there are as many as the text is long: an alias, however much it
    stands for, is one.
    """
    if len(text) > limits.SPEC_BYTES:
        raise UnsafeYAML(f"a spec has at most {limits.SPEC_BYTES:,} characters; this has more")
    found = _Count()
    for event in YAML(typ="rt").parse(text):
        found.take(event)


class UnsafeYAML(MarkedYAMLError):  # noqa: N818
    """Raised with the place, as YAML's own errors are."""

    def __init__(self, what: str, mark: Any = None) -> None:
        super().__init__(problem=what, problem_mark=mark)


@dataclass
class _Open:
    """A list or mapping that hasn't ended: what is in it so far, with every alias written out."""

    anchor: str | None
    values: int = 1
    depth: int = 1


@dataclass
class _Count:
    """How much there is, event by event."""

    opened: list[_Open] = field(default_factory=lambda: [_Open(None)])
    known: dict[str, tuple[int, int]] = field(default_factory=dict)  # by anchor: values, depth

    def take(self, event: Any) -> None:
        kind, mark = type(event).__name__, event.start_mark
        if (tag := getattr(event, "ctag", None)) is not None and str(tag) not in PLAIN:
            raise UnsafeYAML(
                f"a tag ({shown(str(tag))}): values here are plain, and no objects. Remove it", mark
            )
        if kind in ("SequenceStartEvent", "MappingStartEvent"):
            self.opened.append(_Open(event.anchor))
            self._bound(len(self.opened) - 1, 0, mark)
        elif kind in ("SequenceEndEvent", "MappingEndEvent"):
            ended = self.opened.pop()
            self._add(ended.anchor, ended.values, ended.depth, mark)
        elif kind == "ScalarEvent":
            _check_text(event, mark)
            self._add(event.anchor, 1, 0, mark)
        elif kind == "AliasEvent":
            if any(each.anchor == event.anchor for each in self.opened):
                raise UnsafeYAML(f"*{event.anchor} stands within itself. Write the value out", mark)
            self._add(None, *self.known.get(event.anchor, (1, 0)), mark)

    def _add(self, anchor: str | None, values: int, depth: int, mark: Any) -> None:
        if anchor is not None:
            self.known[anchor] = values, depth
        holder = self.opened[-1]
        holder.values += values
        holder.depth = max(holder.depth, depth + 1)
        self._bound(len(self.opened) - 1 + depth, holder.values, mark)

    def _bound(self, depth: int, values: int, mark: Any) -> None:
        if depth > limits.SPEC_DEPTH:
            raise UnsafeYAML(f"values are nested more than {limits.SPEC_DEPTH} deep. Make them flatter", mark)
        if values > limits.SPEC_VALUES:
            what = f"a spec holds at most {limits.SPEC_VALUES:,} values, those that an alias (*name) stands for too"
            raise UnsafeYAML(what, mark)


def _check_text(event: Any, mark: Any) -> None:
    if (hidden := HIDDEN.search(event.value)) is not None:
        raise UnsafeYAML(f"a character that can't be seen ({hidden[0]!r}). Remove it", mark)
    if event.style is None and len(event.value) > limits.DIGITS and NUMBER.fullmatch(event.value):
        what = f"a number has at most {limits.DIGITS} digits, and this has {len(event.value):,}"
        raise UnsafeYAML(f"{what}; a text that looks like one is put in quotes", mark)


def shown(tag: str) -> str:
    """A tag as it is written: ``!!python/name:os.system``."""
    return tag.replace("tag:yaml.org,2002:", "!!")
