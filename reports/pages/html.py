"""Small pieces of HTML. Everything that comes from outside passes through ``text``."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from html import escape
from typing import Any

from reports import units
from reports.pages.tables import Table


def text(value: str) -> str:
    """Escaped text in which a number does not part from its unit at a line's end."""
    return re.sub(r"(\d) (%|GiB|MiB|s|min|h)(?![\w])", "\\1\u00a0\\2", escape(value))


def paragraph(value: str, kind: str = "") -> str:
    """A paragraph of escaped text."""
    return f"<p{_class(kind)}>{text(value)}</p>" if value else ""


def bullets(values: list[str]) -> str:
    """A list of escaped texts, nothing for none."""
    return f"<ul>{''.join(f'<li>{text(value)}</li>' for value in values)}</ul>" if values else ""


def heading(level: int, value: str, name: str | None = None) -> str:
    """A heading, with an id when it is ``name``d."""
    anchor = f' id="{escape(name)}"' if name else ""
    return f"<h{level}{anchor}>{text(value)}</h{level}>"


def table(table: Table, label: str) -> str:
    """A table in a box that scrolls sideways by itself, so that the page never does."""
    head = "".join(f'<th scope="col"{_side(column, table)}>{text(column)}</th>' for column in table.columns)
    rows = "".join(_row(row, table) for row in table.rows)
    return (
        f'<div class="scroll" role="region" aria-label="{escape(label)}" tabindex="0">'
        f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _row(row: tuple[str, ...], table: Table) -> str:
    cells = [
        f"<td{_side(column, table)}>{_cell(value)}</td>"
        for column, value in zip(table.columns, row, strict=True)
    ]
    first = f'<th scope="row">{text(row[0])}</th>'
    return f"<tr>{''.join([first, *cells[1:]])}</tr>"


def _side(column: str, table: Table) -> str:
    return "" if column in table.texts else ' class="number"'


def _cell(value: str) -> str:
    """A long text, such as a traceback, folds away behind its last line, which says what was wrong."""
    lines = value.strip().splitlines()
    if len(lines) < 2:
        return f'<div class="long">{text(value)}</div>' if len(value) > 60 else text(value)
    return (
        f'<details class="long"><summary>{text(lines[-1])}</summary>'
        f'<pre tabindex="0">{escape(value.strip())}</pre></details>'
    )


def facts(pairs: list[tuple[str, str]]) -> str:
    """Names and their values; one of one name may hold a command, so all are set as they were written."""
    return f"<dl>{''.join(f'<dt>{text(name)}</dt><dd>{text(value)}</dd>' for name, value in pairs)}</dl>"


def code(value: str) -> str:
    """Text as written, such as a spec."""
    return f'<pre tabindex="0"><code>{escape(value.rstrip())}</code></pre>'


def rows(examples: Sequence[Sequence[dict[str, Any]]]) -> str:
    """Example rows, folded away; the pieces of each that bear the loss are marked."""
    if not examples:
        return ""
    shown = "".join(f"<li>{_pieces(row)}</li>" for row in examples)
    told = f"{units.counted(len(examples), 'row')} as the model sees them; the loss is on what is marked"
    return f'<details class="rows"><summary>{text(told)}</summary><ol>{shown}</ol></details>'


def _pieces(row: Sequence[dict[str, Any]]) -> str:
    """A row's text as it is. Its language is not the page's, and each of its lines runs in its own direction."""
    return f'<div class="row" lang="" dir="auto">{"".join(map(_piece, row))}</div>'


def _piece(piece: dict[str, Any]) -> str:
    body = escape(piece["text"])
    marked = f"<mark>{body}</mark>" if piece["loss"] else body
    if not piece["left_out"]:
        return marked
    count = piece["left_out"]
    left_out = f"… {units.number(count)} character{'s' if count > 1 else ''} left out"
    return f'{marked}<small lang="en" dir="ltr">{text(left_out)}</small>'


def dialogue(messages: Sequence[dict[str, Any]], answers: Sequence[tuple[str, str]]) -> str:
    """A conversation, and several answers to it side by side, by whose they are. Nothing in them is the page's own."""
    asked = "".join(
        f"<dt>{text(str(message.get('role', '')))}</dt>{_quoted(_said(message))}" for message in messages
    )
    sides = "".join(f"<div><h4>{text(name)}</h4>{_quoted(said, 'div')}</div>" for name, said in answers)
    return f'<article class="dialogue"><dl>{asked}</dl><div class="sides">{sides}</div></article>'


def _quoted(value: str, tag: str = "dd") -> str:
    return f'<{tag} class="row" lang="" dir="auto">{escape(value)}</{tag}>'


def _said(message: dict[str, Any]) -> str:
    """A message's text, and the tools it calls as JSON."""
    calls = message.get("tool_calls")
    written = [json.dumps(calls, ensure_ascii=False)] if calls else []
    return "\n".join([*([str(message["content"])] if message.get("content") else []), *written])


def figure(svg: str | None, caption: str, missing: str) -> str:
    """A figure with its caption, or the sentence that says why there is none."""
    if svg is None:
        return paragraph(missing, "note")
    return f"<figure>{svg}<figcaption>{text(caption)}</figcaption></figure>"


def _class(kind: str) -> str:
    return f' class="{kind}"' if kind else ""
