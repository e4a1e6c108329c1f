"""The formats that rows are written in. A new format is one file here and one entry in ``FORMATS``."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from trainables.data.formats.base import Format
from trainables.data.formats.conversations import MESSAGES, SHAREGPT
from trainables.data.formats.prompt_completion import ALPACA, COMPLETION
from trainables.data.formats.text import TEXT
from trainables.data.parsed_row import InvalidRow, Layout

# In the order in which they are tried: the most specific columns first.
_ALL: tuple[Format, ...] = (SHAREGPT, MESSAGES, ALPACA, COMPLETION, TEXT)
FORMATS: Mapping[str, Format] = {form.name: form for form in _ALL}
ALIASES = {"openai": "messages", "prompt-completion": "completion"}


def detect_layout(
    columns: Collection[str],
    name: str | None = None,
    given: Mapping[str, str] | None = None,
    tags: Mapping[str, str] | None = None,
) -> Layout:
    """How to read a file with these columns: in the named format, or in the first that fits.

    ``given``: part -> column, where the column does not have its usual name. Raises ``InvalidRow`` if no format fits.

    >>> detect_layout(["instruction", "input", "output"]).format
    'alpaca'
    """
    given = dict(given or {})
    for part, column in given.items():
        if column not in columns:
            raise InvalidRow(
                f"has no column {column}, which {part} should be in; it has {', '.join(columns)}"
            )
    if name is not None:
        return _named(ALIASES.get(name, name), columns, given, tags)
    for form in FORMATS.values():
        if form.fits(chosen := form.columns(columns, given)):
            return Layout(form.name, chosen, {**form.tags, **(tags or {})})
    raise InvalidRow(
        f"found the columns {', '.join(columns) or '(none)'}; expected {EXPECTED}. For other names, say in data which "
        "column is what: columns: {prompt: ..., response: ...}"
    )


def _named(
    name: str, columns: Collection[str], given: Mapping[str, str], tags: Mapping[str, str] | None
) -> Layout:
    form = FORMATS[name]
    chosen = form.columns(columns, given)
    if not form.fits(chosen):
        raise InvalidRow(f"found the columns {', '.join(columns)}; {name} expects {form.expected}")
    return Layout(name, chosen, {**form.tags, **(tags or {})})


EXPECTED = "; or ".join(f"{form.expected} ({form.name})" for form in FORMATS.values())
