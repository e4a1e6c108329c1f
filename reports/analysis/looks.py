"""How often a run was looked at: ``paretune settle`` adds seeds and test rows to it, and has its report written again.

``settle.json`` in the run folder has an entry for each time: ``{"looks": [{"begun": ..., "reported": ..., "settled":
[["sft-lora", "sft-full"]], "claims": [{"kind": "better", "a": "lora", "b": "full"}]}]}``, with the cells whose
difference, and the claims, that the report before it had settled.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

FILE = "settle.json"


def count_looks(run: Path) -> int:
    """The number of the run's report that would be written now, from 1.

    Raises ``ValueError`` that names a damaged file.
    """
    return 1 + len(_looks(run))


def look_of(run: Path, one: str, other: str) -> int:
    """The look by whose error two cells of a run are judged: the first at which their difference was settled, as long
    as it has been since; else the last one. So nothing is taken back only because other cells were looked at again.
    """
    return _first_settled(
        run, lambda before: sorted((one, other)) in map(sorted, before.get("settled") or [])
    )


def look_of_claim(run: Path, claim: Mapping[str, Any]) -> int:
    """The look by whose error a claim is judged, likewise. ``claim``: as it is kept, without when it was stated."""
    return _first_settled(run, lambda before: claim in (before.get("claims") or []))


def _first_settled(run: Path, settled_before: Callable[[Mapping[str, Any]], bool]) -> int:
    looks = _looks(run)
    number = 1 + len(looks)
    for before in reversed(looks):
        if not settled_before(before):
            break
        number -= 1
    return number


def next_look(run: Path) -> int:
    """The number of the report after more was added; one that was begun and not reported yet goes on."""
    looks = _looks(run)
    return 1 + len(looks) + (not looks or looks[-1].get("reported") is not None)


def _looks(run: Path) -> list[dict[str, Any]]:
    path = run / FILE
    if not path.exists():
        return []
    try:
        return [dict(each) for each in json.loads(path.read_text(encoding="utf-8"))["looks"]]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{path}: damaged: {error}") from error
