"""Rows that belong to images, sounds or videos: only their texts can be trained on."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from trainables.data.formats.base import plain_name
from trainables.data.parsed_row import InvalidRow, Remarks

COLUMNS = frozenset({"image", "images", "video", "videos", "audio", "audios"})
# What stands in a text for a file of these columns, in LLaMA-Factory's form and in those of models.
PLACEHOLDER = re.compile(r"<(?:image|video|audio)>|<\|(?:image|video|audio)(?:_pad|_1)?\|>|\[IMG\]")


def check_media(
    values: Mapping[str, Any], read: Collection[str], ignored: Collection[str], remarks: Remarks
) -> None:
    """A remark on a row's files of media; ``read``: the columns that are read, ``ignored``: those that are not to be.

    Raises ``InvalidRow`` where a text has a place for one of them.
    """
    columns = [
        column
        for column, value in values.items()
        if plain_name(column) in COLUMNS
        and value not in (None, "", [], {})
        and column not in (*read, *ignored)
    ]
    if not columns:
        return
    column = columns[0]
    if match := PLACEHOLDER.search(str([values[each] for each in read if each in values])):
        raise InvalidRow(
            f"its text holds {match[0]}, for which {column} has a file, and only texts can be trained on; leave such "
            f"rows out, or take {match[0]} out of them (ignore_columns: [{column}] learns it as text)"
        )
    remarks.append(f"{column} is left aside, as only texts can be trained on")
