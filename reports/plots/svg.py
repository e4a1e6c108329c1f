"""Prepares an SVG by Matplotlib for an HTML page: it takes the page's colours and fonts, scales, has unique ids."""

from __future__ import annotations

import re
from collections.abc import Mapping
from html import escape

from reports.plots.drawing import Mark
from reports.plots.style import INK, MUTED, PAPER, RULE
from trainables.system.shown_text import shown

_THEME = {INK: "var(--ink)", MUTED: "var(--muted)", RULE: "var(--rule)", PAPER: "var(--paper)"}


def inline(svg: str, name: str, alt: str, marks: Mapping[str, Mark]) -> str:
    """The ``<svg>`` element for a page whose CSS defines ``--ink``, ``--muted``, ``--rule`` and ``--paper``.

    ``name`` is put before every id, so that the ids of several figures differ; a screen reader reads ``alt`` aloud.
    ``marks``, by id: their elements name the cells that they show, and have their text as a title.
    """
    # The XML declaration and the doctype before the element have no place inside HTML.
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<(metadata|style|title).*?</\1>", "", body, flags=re.DOTALL)
    body = _unique_ids(body, name)
    # Last, so that nothing of a text is taken for a colour or a font.
    body = _with_marks(_page_fonts(_page_colours(body)), name, marks)
    box = re.search(r'viewBox="([^"]*)"', body)
    start = f'<svg viewBox="{box[1] if box else ""}" role="img" aria-label="{escape(alt)}">'
    # A function as replacement, because in a text backslashes would be interpreted.
    return re.sub(r"\n\s*", "\n", re.sub(r"<svg[^>]*>", lambda _: start, body, count=1)).strip()


def _with_marks(svg: str, name: str, marks: Mapping[str, Mark]) -> str:
    def marked(element: re.Match[str]) -> str:
        mark = marks[element[1]]
        title = f"<title>{escape(shown(mark.text))}</title>" if mark.text else ""
        return f'{element[0][:-1]} class="mark" data-cells="{" ".join(mark.cells)}">{title}'

    return re.sub(rf'<g id="{re.escape(name)}-(mark-\d+)">', marked, svg)


def _unique_ids(svg: str, name: str) -> str:
    # All three forms have to agree: the id itself, links to it (without the old xlink prefix), and url().
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r'(?:xlink:)?href="#', f'href="#{name}-', svg)
    return svg.replace("url(#", f"url(#{name}-")


def _page_colours(svg: str) -> str:
    """Replaces the four theme colours with the page's variables; the colours of methods stay."""
    for colour, variable in _THEME.items():
        svg = re.sub(colour, variable, svg, flags=re.IGNORECASE)
    # Matplotlib leaves out black, SVG's default fill.
    return svg.replace("fill: black", f"fill: {_THEME[INK]}")


def _page_fonts(svg: str) -> str:
    return re.sub(r"'DejaVu Sans'(, [^;\"]*)?", "var(--sans)", svg)
