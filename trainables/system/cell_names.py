"""Names of cells as people write them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import TypeVar

T = TypeVar("T")


def plain_name(name: str) -> str:
    """A name without what people write otherwise: blanks, dashes and the size of letters.

    >>> plain_name("LoRA rank_8") == plain_name("lora-rank=8")
    True
    """
    return re.sub(r"[\s=_-]+", "-", name.strip()).casefold()


def cells_named(wanted: str, cells: Iterable[T], *names_of: Callable[[T], Iterable[str]]) -> list[T]:
    """The cells with that name by the first of ``names_of`` by which there is any, such as a cell's own name before its
    method's.

    >>> cells_named("lora rank8", ["sft-full", "sft-lora-rank8"], lambda cell: [cell], lambda cell: [cell[4:]])
    ['sft-lora-rank8']
    """
    known, plain = list(cells), plain_name(wanted)
    for names in names_of:
        if found := [cell for cell in known if plain in map(plain_name, names(cell))]:
            return found
    return []
