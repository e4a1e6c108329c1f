"""Names and sources of evaluation sets: of ``data.eval``, where it has several."""

from __future__ import annotations

import re
from itertools import permutations
from typing import Annotated, Any

from pydantic import Field

from trainables.config.base import Frozen

SET_NAME = r"^[A-Za-z][A-Za-z0-9_-]{0,30}$"
SetName = Annotated[str, Field(pattern=SET_NAME)]
# Of an evaluation set: a name, a file or a hub id, or several; None: rows held out of the training data.
SetSource = str | tuple[str, ...] | None
# A further set has a column ``set_NAME`` in tables of cells, and one with each of these endings.
SET_ENDINGS = (
    "", "_low", "_high", "_lost", "_lost_low", "_lost_high", "_quality_name", "_quality_unit", "_rows",
    "_source", "_sha256",
)  # fmt: skip


class PlannedSet(Frozen):
    """What planning found of a further evaluation set: the hash of its rows, and by what its answers are judged
    (``None``: as those of the test rows).
    """

    sha256: str
    quality: str | None = None


def check_sets(value: Any) -> Any:
    """Refuses no evaluation set at all, sets without data, names that no column can have, and two whose columns or
    files would be one.

    Lists become tuples: what a validator returns is no JSON any more, in which a strict tuple may be a list.
    """
    if value in ([], "", {}):
        raise ValueError("got no evaluation set; write eval: {mine: a.jsonl, general: b.jsonl}")
    if not isinstance(value, dict):
        return tuple(value) if isinstance(value, list) else value
    for name in value:
        if not isinstance(name, str) or not re.fullmatch(SET_NAME, name):
            raise ValueError(
                f"{name!r} can't name an evaluation set: a name has at most 31 letters, digits, - and _, and begins "
                "with a letter"
            )
        if value[name] in ([], ""):
            raise ValueError(f"the evaluation set {name} has no data; name a file")
    for one, other in permutations(value, 2):
        if other.lower() in {f"{one}{ending}".lower() for ending in SET_ENDINGS}:
            same = one.lower() == other.lower()
            why = "differ in case alone" if same else f"would share the column set_{other}"
            raise ValueError(f"the evaluation sets {one} and {other} {why}; give one of them another name")
    return {name: tuple(source) if isinstance(source, list) else source for name, source in value.items()}


def sources(source: SetSource) -> tuple[str, ...]:
    """The names of a set's data; none for rows held out of the training data."""
    return (source,) if isinstance(source, str) else source or ()
