"""The formats that rows are written in. A new format is one file here and one entry in ``FORMATS``."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from trainables.data.formats.base import Format, GivenColumns
from trainables.data.formats.conversations import MESSAGES, SHAREGPT
from trainables.data.formats.likely_columns import likely_columns
from trainables.data.formats.prompt_completion import ALPACA, COMPLETION
from trainables.data.formats.readings import CONTEXT, OPTIONAL, READINGS, Candidate, Reading, read_columns
from trainables.data.formats.text import TEXT
from trainables.data.parsed_row import InvalidRow, Layout, Remarks
from trainables.data.rows import Classified, Preference
from trainables.system.suggestions import did_you_mean, nearest

# In the order in which they are tried: the most specific columns first.
_ALL: tuple[Format, ...] = (SHAREGPT, MESSAGES, ALPACA, COMPLETION, TEXT)
FORMATS: Mapping[str, Format] = {form.name: form for form in _ALL}
ALIASES = {"openai": "messages", "prompt-completion": "completion"}

PARTS = tuple(dict.fromkeys(part for form in (ALPACA, *_ALL) for part in form.usual))
# The usual names of columns stand for their part too: `instruction` for `prompt`. A part's own name comes first.
_USUAL_NAMES = {name: part for form in _ALL for part, names in form.usual.items() for name in names}
SYNONYMS = {name: part for name, part in _USUAL_NAMES.items() if name not in PARTS}
_NAMES = (*PARTS, *SYNONYMS)
TAGS = tuple(SHAREGPT.tags)


class InvalidColumns(InvalidRow):
    """The columns that were given don't fit the file or the format; ``part`` is the one that is at fault."""

    def __init__(self, part: str, message: str) -> None:
        super().__init__(message)
        self.part = part


def part_of(name: str) -> str:
    """The part that a name in ``columns`` stands for. Raises ``InvalidColumns`` with the nearest one.

    >>> part_of("instruction"), part_of("system")
    ('prompt', 'system')
    """
    part = name if name in PARTS else SYNONYMS.get(name)
    if part is None:
        known = f"parts: {', '.join(PARTS)}{did_you_mean(name, _NAMES)}"
        raise InvalidColumns(name, f"unknown part {name}; {known}")
    return part


def columns_by_part(given: Mapping[str, str | None]) -> dict[str, str | None]:
    """Columns by part, from columns by any name of a part. Raises ``InvalidColumns`` for an unknown name."""
    columns: dict[str, str | None] = {}
    for name, column in given.items():
        # A misspelt part may have a column that is called as a part is.
        if name not in _NAMES and column in PARTS and nearest(name, _NAMES) != column:
            raise InvalidColumns(name, f"{column} is the part, and it comes first: {{{column}: {name}}}")
        if name not in _NAMES and column is None:
            meant = did_you_mean(name, _NAMES)
            raise InvalidColumns(
                name, f"no part is called {name}; ignore_columns: [{name}] leaves a column out{meant}"
            )
        part = part_of(name)
        if part in columns:
            other = next(other for other in given if part_of(other) == part)
            raise InvalidColumns(name, f"{other} and {name} are the same part, {part}; keep one of them")
        other = next((other for other in columns if column and columns[other] == column), part)
        # The answer of a pair may be named in both ways.
        if {part, other} not in ({part}, {"response", "chosen"}):
            raise InvalidColumns(
                name, f"{other} and {name} are both in {column}; give each a column of its own"
            )
        # The registry of LLaMA-Factory writes an empty text for a part that has no column.
        columns[part] = column or None
    return columns


def detect_layout(
    columns: Collection[str],
    name: str | None = None,
    given: GivenColumns | None = None,
    tags: Mapping[str, str] | None = None,
    row_type: type | None = None,
    row: Mapping[str, Any] | None = None,
) -> Layout:
    """How to read a file with these columns: in the named format, or in the first that fits.

    ``given``: part -> column, where the column does not have its usual name. Of several formats that fit, the first
    that rows of ``row_type`` can be read from, and that ``row`` has values for, is taken. Raises ``InvalidRow`` if no
    format fits.

    >>> detect_layout(["instruction", "input", "output"]).format
    'alpaca'
    """
    found = candidates(columns, row_type, name, given, tags) if row_type is not None else []
    fitting = next((each for each in found if row is not None and each.fits(row)), next(iter(found), None))
    return fitting.layout if fitting else _any_layout(columns, name, given or {}, tags or {})


def candidates(
    columns: Collection[str],
    row_type: type,
    name: str | None = None,
    given: GivenColumns | None = None,
    tags: Mapping[str, str] | None = None,
) -> list[Candidate]:
    """The layouts from which rows of ``row_type`` can be read, at most one for each format, the best first.

    Raises ``InvalidColumns`` if a given column does not exist, or if no format has all of the given parts.
    """
    given = given or {}
    _check_given(columns, name, given)
    # A column that is called `label` holds classes to a classifier, and whether answers are good to all others.
    given = {"kto_tag" if row_type is Classified else "class": None, **given}
    found: dict[str, Candidate] = {}
    for reading in READINGS[row_type]:
        for form in _forms(name, given):
            chosen = form.columns(columns, given)
            if form.name not in found and _reads(form, reading, name) and reading.needed <= chosen.keys():
                read = read_columns(chosen, reading, row_type)
                found[form.name] = Candidate(Layout(form.name, read, {**form.tags, **(tags or {})}), reading)
    return list(found.values())


def _reads(form: Format, reading: Reading, name: str | None) -> bool:
    """Whether a format, which may be the named one, can be read so: one with messages has nothing without them."""
    has_request = "messages" not in form.usual or "messages" in reading.needed
    return has_request and (name is not None or reading.format in (None, form.name))


def _any_layout(
    columns: Collection[str], name: str | None, given: GivenColumns, tags: Mapping[str, str]
) -> Layout:
    """The layout of the first format that has these columns, whatever rows are needed."""
    _check_given(columns, name, given)
    for form in _forms(name, given):
        if form.fits(chosen := form.columns(columns, given)):
            return Layout(form.name, chosen, {**form.tags, **tags})
    # Pairs without a prompt of their own: it is the beginning that both answers share.
    if pairs := candidates(columns, Preference, name, given, tags):
        return pairs[0].layout
    listed = ", ".join(map(shown_name, columns)) or "(none)"
    if name is not None:
        form = FORMATS[ALIASES.get(name, name)]
        raise InvalidRow(f"found the columns {listed}; {form.name} expects {form.expected}")
    raise InvalidRow(
        f"found the columns {listed}; expected {EXPECTED}. For other names, say in data which "
        f"column is what: {likely_columns(columns)}{_missing_part(given)}"
    )


def _missing_part(given: GivenColumns) -> str:
    """What is missing beside the parts that the spec gives, to append to a sentence; empty if it gives none."""
    named = [f"{part} ({column})" for part, column in given.items() if column is not None]
    if not named:
        return ""
    missing = "response" if given.get("prompt") else "prompt"
    return f". There are {' and '.join(named)}, and {missing} is missing"


def _forms(name: str | None, given: GivenColumns) -> Iterator[Format]:
    """The named format, or all that have the given parts."""
    if name is not None:
        yield FORMATS[ALIASES.get(name, name)]
        return
    yield from (form for form in _ALL if not _unused(form, given))


def _unused(form: Format, given: GivenColumns) -> list[str]:
    """The given parts that a format does not have."""
    # By way of its own columns, since a format may take one part for another.
    named = {part: column for part, column in given.items() if column is not None}
    return [part for part in named if not form.columns((), {part: named[part]}).keys() <= form.usual.keys()]


def lacks_parts_only(candidate: Candidate, columns: Collection[str], given: GivenColumns) -> bool:
    """Whether a row with these columns is one of the candidate's layout in which some are missing, and no other row."""
    existing = {part: column for part, column in given.items() if column is None or column in columns}
    parts = FORMATS[candidate.layout.format].columns(columns, existing).keys()
    return (
        bool(parts & candidate.layout.columns.keys()) and parts - CONTEXT <= candidate.layout.columns.keys()
    )


def with_filled_columns(
    layout: Layout, row: Mapping[str, Any], given: GivenColumns, remarks: Remarks
) -> Layout:
    """The layout, where a row's prompt or answer is empty, with another column of a usual name that has a text."""
    columns = dict(layout.columns)
    for part in ("prompt", "response"):
        column = columns.get(part)
        if column is None or part in given or str(row.get(column) or "").strip():
            continue
        names = [name for name in FORMATS[layout.format].usual[part] if name not in columns.values()]
        texts = (name for name in names if isinstance(row.get(name), str) and row[name].strip())
        if other := next(texts, None):
            columns[part] = other
            remarks.append(f"{column} is empty, and {other} is read as the {part}")
    return Layout(layout.format, columns, layout.tags) if columns != layout.columns else layout


def _check_given(columns: Collection[str], name: str | None, given: GivenColumns) -> None:
    for part, column in given.items():
        if column is not None and column not in columns:
            have = f"{', '.join(map(shown_name, columns))}{did_you_mean(column, columns)}"
            raise InvalidColumns(part, f"has no column {column}, which {part} should be in; it has {have}")
    if name is not None and (unused := _unused(form := FORMATS[ALIASES.get(name, name)], given)):
        raise InvalidColumns(
            unused[0],
            f"the format {form.name} has no part {unused[0]}; its parts: {', '.join(form.usual)}",
        )
    if name is None and next(_forms(None, given), None) is None:
        named = [part for part, column in given.items() if column is not None]
        parts = "; ".join(f"{form.name}: {', '.join(form.usual)}" for form in _ALL)
        raise InvalidColumns(named[-1], f"no format has the parts {', '.join(named)} together; {parts}")


def check_readable(given: GivenColumns, row_type: type) -> None:
    """For columns that no layout fits: raises ``InvalidColumns`` for a given part that no rows of the type have."""
    readings = READINGS[row_type]
    if {"chosen", "rejected"} <= {part for part, column in given.items() if column is not None}:
        return  # a pair, which the stage itself refuses with what to do about it
    known = frozenset[str]().union(*(reading.needed for reading in readings)) | OPTIONAL.get(
        row_type, CONTEXT
    )
    for part, column in given.items():
        if column is not None and part not in known:
            needed = "; or ".join(", ".join(sorted(reading.needed)) for reading in readings)
            raise InvalidColumns(
                part, f"{part} ({column}) is nothing that this stage reads; it needs {needed}"
            )


def shown_name(column: str) -> str:
    """A column's name as messages show it: in quotes where blanks around it, or its absence, would not be seen."""
    return column if column.strip() == column != "" else f'"{column}"'


EXPECTED = "; or ".join(f"{form.expected} ({form.name})" for form in FORMATS.values())
