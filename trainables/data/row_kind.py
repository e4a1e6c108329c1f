"""What kind of rows data has, told from its first ones."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from trainables.config.data import DataConfig
from trainables.data import formats, readers
from trainables.data.errors import DataError
from trainables.data.parsed_row import Found, Skip, Wrong
from trainables.data.rows import Conversation, Labelled, Preference, Prompt, Text
from trainables.data.sources import Source, resolve

LOOKED_AT = 100  # rows


def kind(config: DataConfig) -> type | None:
    """The row type (``trainables.data.rows``) that the data holds; ``None`` for embedded data, which has every kind.

    Raises :class:`DataError` for data that isn't there or has no row that could be any.
    """
    sources = [resolve(name, config) for name in config.names]
    if all(source.embedded for source in sources):
        return None
    found = [each for source in sources for each in islice(_found(source), LOOKED_AT)]
    for need, holds in _TELLING:
        if any(holds(each) for each in found):
            return need
    raise DataError(f"{', '.join(config.names)}: none of its first {LOOKED_AT} rows has anything to evaluate")


# The most telling first: a pair is also a prompt, and a labelled answer also an answer.
_TELLING = (
    (Preference, lambda found: found.chosen is not None and found.rejected is not None),
    (Labelled, lambda found: found.label is not None),
    (Conversation, lambda found: found.answered),
    (Prompt, lambda found: bool(found.messages)),
    (Text, lambda found: found.text is not None),
)


def _found(source: Source) -> Iterator[Found]:
    for path in source.files:
        for raw in islice(readers.read(path), LOOKED_AT):
            try:
                layout = formats.layout(list(raw.values), source.format, source.columns, source.tags)
                yield formats.FORMATS[layout.format].convert(raw.values, layout)
            except Skip:
                continue
            except (Wrong, TypeError) as error:
                raise DataError(f"{raw.where}: {error}") from None
