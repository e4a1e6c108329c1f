"""Rows that say the opposite of one another: an answer that is good and bad, a pair in both orders, a text of two
classes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import pyarrow as pa

from trainables.data.rows import Classified, Labelled, Preference
from trainables.storage import files
from trainables.system.wording import counted

MAX_PLACES = 4
SIDES = ("", "_turns", "_calls")  # the parts of an answer: its field's name and these endings


def contradiction_warnings(table: pa.Table, row_type: type) -> list[str]:
    """A sentence with the number and the first places of such rows among converted rows; none for other stages."""
    if row_type not in _JUDGEMENTS:
        return []
    places: dict[str, list[int]] = {}  # hash of what is judged -> its rows
    verdicts: dict[str, set[Any]] = {}
    for number, text in enumerate(table["row"]):
        judged, verdict = _JUDGEMENTS[row_type][0](json.loads(text.as_py()))
        key = files.sha256(judged)
        places.setdefault(key, []).append(number)
        verdicts.setdefault(key, set()).add(verdict)
    found = sorted(number for key, numbers in places.items() if len(verdicts[key]) > 1 for number in numbers)
    if not found:
        return []
    where = ", ".join(table["where"][number].as_py() for number in found[:MAX_PLACES])
    more = ", ..." if len(found) > MAX_PLACES else ""
    what = _JUDGEMENTS[row_type][1]
    return [f"{counted(len(found), 'row')} {what} ({where}{more}); keep one of each"]


def _labelled(row: Mapping[str, Any]) -> tuple[Any, Any]:
    return {name: value for name, value in row.items() if name != "label"}, row["label"]


def _pair(row: Mapping[str, Any]) -> tuple[Any, Any]:
    chosen, rejected = (
        files.sha256([row.get(f"{side}{part}") for part in SIDES]) for side in ("chosen", "rejected")
    )
    return [row["prompt"], row.get("tools"), *sorted((chosen, rejected))], chosen < rejected


def _classified(row: Mapping[str, Any]) -> tuple[Any, Any]:
    return [row["prompt"], row.get("tools")], tuple(sorted(row["labels"]))


# What rows of a type judge and how they do, and what those do that contradict one another.
_JUDGEMENTS: Mapping[type, tuple[Callable[[Mapping[str, Any]], tuple[Any, Any]], str]] = {
    Labelled: (_labelled, "label the same answer to the same prompt good and bad"),
    Preference: (_pair, "prefer the one and the other of the same two answers to the same prompt"),
    Classified: (_classified, "give the same text different labels"),
}
