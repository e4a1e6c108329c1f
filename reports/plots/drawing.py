"""A drawn figure: its name, its description in words, and what its marks stand for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Mark:
    """What a mark of a figure shows.

    ``cells``: the keys of its cells; it is hidden with all of them. ``text``: lines that describe it; empty for what
    belongs to another mark, such as a label.
    """

    cells: tuple[str, ...]
    text: str = ""


@dataclass(frozen=True)
class Drawing:
    """A figure, the name of its file without suffix, and a description in words (``alt``).

    ``marks``: by the id of the mark's element in the SVG.
    """

    name: str
    figure: Figure
    alt: str
    marks: Mapping[str, Mark] = field(default_factory=dict)
