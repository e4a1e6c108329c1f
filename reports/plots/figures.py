"""All figures of a report, as PNG, as SVG files, and as SVG inside the page.

draw_figures(compare([run])).write(folder)
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from markupsafe import Markup

from reports.analysis.comparison import compare
from reports.analysis.data_preview import DataPreview
from reports.analysis.group import Group
from reports.plots import curves, forgetting, learning_rates, lengths, memory, pareto, settings, svg
from reports.plots.drawing import Drawing
from reports.plots.style import palette, styled
from trainables.results import Run
from trainables.system.shown_text import shown

_PLOTS = {
    "pareto": pareto.draw,
    "learning-curves": curves.draw,
    "learning-rates": learning_rates.draw,
    "settings": settings.draw,
    "memory": memory.draw,
    "forgetting": forgetting.draw,
}


@dataclass(frozen=True)
class Figures:
    """The drawings of a report, by kind and by the title of what they show; those with nothing to draw are missing."""

    drawings: dict[tuple[str, str], Drawing]

    def inline(self, kind: str, subject: Group | DataPreview) -> Markup | None:
        """The figure as an element for the page. Matplotlib has escaped the texts in it."""
        drawing = self.drawings.get((kind, subject.title))
        return (
            Markup(svg.inline(svg_text(drawing), drawing.name, drawing.alt, drawing.marks))
            if drawing
            else None
        )

    def write(self, folder: Path) -> None:
        """Writes every figure as NAME.png and NAME.svg."""
        folder.mkdir(parents=True, exist_ok=True)
        for drawing in self.drawings.values():
            (folder / f"{drawing.name}.png").write_bytes(png(drawing))
            (folder / f"{drawing.name}.svg").write_text(svg_text(drawing), encoding="utf-8")


def draw_figures(
    groups: Sequence[Group], previews: Sequence[DataPreview] = (), across_stages: Sequence[Group] = ()
) -> Figures:
    """Draws every figure that has something to show, with the same colours in all of them.

    ``groups`` get all kinds of figures, ``across_stages`` only the Pareto front, ``previews`` the lengths of rows.
    """
    colours = palette(groups)
    drawings: dict[tuple[str, str], Drawing] = {}
    with styled():
        for position, group in enumerate(groups):
            for kind, plot in _PLOTS.items():
                drawing = plot(group, colours, _name(kind, group.title, position, len(groups)))
                if drawing is not None:
                    drawings[kind, group.title] = drawing
        for position, group in enumerate(across_stages):
            drawing = pareto.draw(group, colours, _name("across", group.title, position, len(across_stages)))
            if drawing is not None:
                drawings["pareto", group.title] = drawing
        for position, preview in enumerate(previews):
            drawing = lengths.draw(preview, _name("lengths", preview.title, position, len(previews)))
            if drawing is not None:
                drawings["lengths", preview.title] = drawing
    return Figures(drawings)


def _name(kind: str, title: str, position: int, count: int) -> str:
    if count == 1:
        return kind
    # The number tells apart titles that differ only in special characters.
    return re.sub(r"[^a-z0-9]+", "-", f"{kind} {position + 1} {title}".lower()).strip("-")


def png(drawing: Drawing) -> bytes:
    """The figure as PNG, at twice a screen's resolution."""
    data = io.BytesIO()
    # Saving draws the figure again, so the style has to hold here as well.
    with styled():
        drawing.figure.savefig(data, format="png", dpi=200)
    return data.getvalue()


def svg_text(drawing: Drawing) -> str:
    """The figure as an SVG document; the same figure gives the same text."""
    import matplotlib

    data = io.StringIO()
    # Without a salt Matplotlib derives ids from a random UUID, and without `Date: None` it writes the time.
    with styled(), matplotlib.rc_context({"svg.hashsalt": drawing.name}):
        drawing.figure.savefig(data, format="svg", metadata={"Date": None, "Title": drawing.alt})
    text = data.getvalue()
    for character in sorted(set(text)):
        if (picture := shown(character)) != character:
            text = text.replace(character, escape(picture))
    # Matplotlib names its own font alone; a browser without it would show a serif font.
    return text.replace("'DejaVu Sans'", "'DejaVu Sans', Verdana, sans-serif")


def pareto_png(run: Run) -> bytes:
    """The Pareto figure of a run's first group that has one.

    Raises ``ValueError`` when no trial has both a quality and a peak memory.
    """
    fronts = [d for (kind, _), d in draw_figures(compare([run])).drawings.items() if kind == "pareto"]
    if not fronts:
        raise ValueError(
            f"{run.folder}: no trial has both a quality and a peak memory, so there is no front to draw"
        )
    return png(fronts[0])
