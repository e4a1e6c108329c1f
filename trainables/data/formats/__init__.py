"""The formats that rows come in. A new one is one file here and one entry in ``FORMATS``."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from trainables.data.formats.base import Format
from trainables.data.formats.conversations import MESSAGES, SHAREGPT
from trainables.data.formats.prompt_completion import ALPACA, COMPLETION
from trainables.data.formats.text import TEXT
from trainables.data.parsed_row import Layout, Wrong

# In the order they are tried: the most telling columns first.
_ALL: tuple[Format, ...] = (SHAREGPT, MESSAGES, ALPACA, COMPLETION, TEXT)
FORMATS: Mapping[str, Format] = {form.name: form for form in _ALL}
ALIASES = {"openai": "messages", "prompt-completion": "completion"}


def layout(
    columns: Collection[str],
    name: str | None = None,
    given: Mapping[str, str] | None = None,
    tags: Mapping[str, str] | None = None,
) -> Layout:
    """How to read a file with these columns: the format that is named, or the first that fits.

    ``given``: the column of a part, where it isn't the usual one. Raises ``Wrong`` if nothing fits.

    >>> layout(["instruction", "input", "output"]).format
    'alpaca'
    """
    given = dict(given or {})
    for part, column in given.items():
        if column not in columns:
            raise Wrong(f"has no column {column}, which {part} should be in; it has {', '.join(columns)}")
    if name is not None:
        return _named(ALIASES.get(name, name), columns, given, tags)
    for form in FORMATS.values():
        if form.fits(found := form.columns(columns, given)):
            return Layout(form.name, found, {**form.tags, **(tags or {})})
    raise Wrong(f"found the columns {', '.join(columns) or '(none)'}; expected {EXPECTED}")


def _named(
    name: str, columns: Collection[str], given: Mapping[str, str], tags: Mapping[str, str] | None
) -> Layout:
    form = FORMATS[name]
    found = form.columns(columns, given)
    if not form.fits(found):
        raise Wrong(f"found the columns {', '.join(columns)}; {name} expects {form.expected}")
    return Layout(name, found, {**form.tags, **(tags or {})})


EXPECTED = "; or ".join(f"{form.expected} ({form.name})" for form in FORMATS.values())
