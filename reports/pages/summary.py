"""``summary.md``: the report for a terminal or a pull request."""

from __future__ import annotations

import re
from collections.abc import Iterator

from reports.analysis import data_preview
from reports.pages import next_steps, reproduce, tables
from reports.pages.report import EMPTY, READ, Contents
from reports.pages.tables import Table
from trainables.results import Run


def summary(contents: Contents) -> str:
    """The answer, the comparison, what did not finish, and how to repeat it, as Markdown."""
    return "\n\n".join(part for part in _parts(contents) if part) + "\n"


def _parts(contents: Contents) -> Iterator[str]:
    yield f"# {_plain(contents.title)}"
    yield _plain(contents.question or "")
    yield f"_{contents.facts}_"
    yield from _answer(contents)
    yield "## Comparison"
    yield f"{READ['comparison']} {reproduce.memory_source(contents.runs)}"
    for group in contents.groups:
        yield f"### {_plain(group.title)}" if len(contents.groups) > 1 else ""
        yield _table(tables.comparison(group))
    for group in contents.across:
        yield f"### {_plain(group.title)}"
        yield READ["across"]
        yield _table(tables.comparison(group))
    notes = [note for run in contents.runs for note in reproduce.notes(run)]
    yield "\n".join(f"- {_plain(note)}" for note in notes)
    yield "## What the models saw"
    for one in contents.seen:
        yield f"### {_plain(one.title)}" if len(contents.seen) > 1 else ""
        yield _plain(one.facts)
        yield "\n".join(f"- {_plain(remark)}" for remark in one.remarks)
    yield _plain(data_preview.missing(contents.runs))
    yield "## Using the results"
    for group in contents.groups:
        if typed := "\n".join(next_steps.commands(group)):
            yield _fenced(typed)
    yield "## Failures and early stops"
    unfinished = tables.unfinished(contents.groups)
    yield _table(unfinished) if unfinished.rows else "Every trial ran to the end."
    yield "## How to repeat it"
    for run in contents.runs:
        yield from _repeat(run, several=len(contents.runs) > 1)
    yield reproduce.TIMING


def _answer(contents: Contents) -> Iterator[str]:
    yield "## The answer"
    if not contents.answers:
        yield EMPTY
    for answer in contents.answers:
        title = f"**{_plain(answer.title)}.** " if len(contents.answers) > 1 else ""
        yield title + _plain(answer.text)


def _repeat(run: Run, several: bool) -> Iterator[str]:
    yield f"### {_plain(run.name)}" if several else ""
    yield "\n".join(f"- {name}: {_plain(value)}" for name, value in reproduce.facts(run))
    if run.spec:
        yield _fenced(run.spec, "yaml")


def _fenced(text: str, language: str = "") -> str:
    fence = "`" * max(3, *(len(ticks) + 1 for ticks in re.findall("`+", text)), 3)
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"


def _table(table: Table) -> str:
    lines = ["---" if column in table.texts else "---:" for column in table.columns]
    head, *rows = ([_plain(cell) for cell in row] for row in (table.columns, *table.rows))
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, lines, *rows))


def _plain(text: str) -> str:
    """Text on one line that Markdown takes as text: no table bars, no tags, no links and images to fetch."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;").replace("](", "]\\(")
