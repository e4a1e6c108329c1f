"""The text of a spec with a comment on each line, made of its settings.

>>> print(spec_text([Section("data", [Setting("train", "my.jsonl", "the rows")])]), end="")
data:
  train: my.jsonl                  # the rows
"""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from trainables.system.wording import padded

WIDTH = 120
COMMENT_COLUMN = 34  # where comments begin, if the line leaves room
INDENT = "  "
# Texts that YAML reads as themselves, in block and in flow style.
PLAIN = re.compile(r"(?:\.{1,2}/|[A-Za-z_/~])[\w./~+@:-]*(?<!:)")
WORDS = frozenset({"~", "null", "true", "false", "yes", "no", "on", "off", "y", "n"})


@dataclass(frozen=True)
class Setting:
    """A key with its value. One that is not ``active`` is written as a comment, for the reader to make it count."""

    key: str
    value: Any
    comment: str = ""
    active: bool = True


@dataclass(frozen=True)
class Section:
    """A part of a spec that is a mapping."""

    key: str
    settings: Sequence[Setting | Section]
    comment: str = ""


@dataclass(frozen=True)
class Entries:
    """A part of a spec that is a list of mappings, such as its methods."""

    key: str
    entries: Sequence[Sequence[Setting | Section]]
    comment: str = ""


@dataclass(frozen=True)
class Remark:
    """Lines that are comments alone."""

    lines: Sequence[str]


Part = Setting | Section | Entries | Remark


def spec_text(parts: Sequence[Part]) -> str:
    """The YAML text of a spec."""
    return "".join(f"{line}\n" for part in parts for line in _lines(part, ""))


def spec_tree(parts: Sequence[Part]) -> dict[str, Any]:
    """What the text of these parts is read as."""
    tree: dict[str, Any] = {}
    for part in parts:
        if isinstance(part, Setting) and part.active:
            tree[part.key] = part.value
        elif isinstance(part, Section):
            tree[part.key] = spec_tree(list(part.settings))
        elif isinstance(part, Entries):
            tree[part.key] = [spec_tree(list(entry)) for entry in part.entries]
    return tree


def yaml_value(value: Any) -> str:
    """A value in YAML's flow style; texts are in quotes where YAML could read something else.

    >>> yaml_value({"log": [1e-05, 0.001]}), yaml_value("a: b"), yaml_value([True, None, "8"])
    ('{log: [1e-05, 0.001]}', '"a: b"', '[true, null, "8"]')
    """
    if isinstance(value, dict):
        return (
            "{"
            + ", ".join(f"{yaml_value(str(key))}: {yaml_value(item)}" for key, item in value.items())
            + "}"
        )
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(yaml_value, value))}]"
    if isinstance(value, str):
        plain = PLAIN.fullmatch(value) and value.lower() not in WORDS
        return value if plain else json.dumps(value, ensure_ascii=False)
    return json.dumps(value)


def _lines(part: Part, indent: str) -> Iterator[str]:
    if isinstance(part, Remark):
        for line in part.lines:
            yield from _comment_lines(line, indent)
    elif isinstance(part, Setting):
        text = f"{part.key}: {yaml_value(part.value)}"
        yield from _commented(indent + (text if part.active else f"# {text}"), part.comment)
    elif isinstance(part, Section):
        yield from _commented(f"{indent}{part.key}:", part.comment)
        for setting in part.settings:
            yield from _lines(setting, indent + INDENT)
    else:
        yield from _commented(f"{indent}{part.key}:", part.comment)
        for entry in part.entries:
            yield from _entry_lines(entry, indent + INDENT)


def _entry_lines(entry: Sequence[Setting | Section], indent: str) -> Iterator[str]:
    """The first setting stands behind the dash, the others below it."""
    first, *others = entry
    assert isinstance(first, Setting)
    text = f"- {first.key}: {yaml_value(first.value)}"
    yield from _commented(indent + (text if first.active else f"# {text}"), first.comment)
    for setting in others:
        yield from _lines(setting, indent + INDENT)


def _commented(text: str, comment: str) -> Iterator[str]:
    if not comment:
        yield text
        return
    # A comment may quote a text of others, which must not end it.
    comment = "".join(each if each.isprintable() else "?" for each in " ".join(comment.split()))
    line = f"{padded(text, COMMENT_COLUMN)} # {comment}"
    if len(line) <= WIDTH:
        yield line
        return
    # A comment that has no room behind its line stands above it.
    yield from _comment_lines(comment, text[: len(text) - len(text.lstrip())])
    yield text


def _comment_lines(comment: str, indent: str) -> Iterator[str]:
    width = WIDTH - len(indent) - 2
    comment = "".join(each if each.isprintable() else " " for each in comment)
    for line in textwrap.wrap(comment, width, break_long_words=False, break_on_hyphens=False) or [""]:
        yield f"{indent}# {line}".rstrip()
