"""``summary.md``: the report for a terminal or a pull request."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from reports.analysis import comparison_notes
from reports.analysis.data_preview import missing_data_note
from reports.analysis.evaluation_sets import not_measured
from reports.analysis.group import Group
from reports.analysis.recommendation.front_steps import front_sentence
from reports.analysis.yardsticks import chosen_and_judged
from reports.claims.wording import NOTE, claim_sentences
from reports.pages import next_steps, reproduce, tables, trial_tables
from reports.pages.notes import NOTES
from reports.pages.peft_table import TITLE, peft_left_out, peft_note, peft_table
from reports.pages.report import NO_ANSWER, Report
from reports.pages.tables import Table
from trainables.results import Run

# The titles of the sections.
ANSWER, COMPARISON, DATA = "The answer", "Comparison", "What the models saw"
OTHERS = TITLE
USE, FAILURES, REPEAT = "Using the results", "Failures and early stops", "How to repeat it"


@dataclass(frozen=True)
class Section:
    """A section of the summary: ``text`` is its Markdown, without the title."""

    title: str
    text: str


def summary(report: Report, titles: Collection[str] | None = None, note: str | None = None) -> str:
    """The answer, the comparison, what did not finish, and how to repeat it, as Markdown; or the sections of those
    ``titles`` alone, without commands, which name the run's folder. ``note``: a paragraph above the sections.
    """
    head = f"# {escape_markdown(report.title)}", escape_markdown(report.question or ""), f"_{report.facts}_"
    remark = f"Note: {escape_markdown(note)}" if note else ""
    parts = [
        part
        for each in sections(report, with_commands=titles is None)
        if titles is None or each.title in titles
        for part in (f"## {each.title}", each.text)
    ]
    return _joined([*head, remark, *parts]) + "\n"


def sections(report: Report, with_commands: bool = True) -> tuple[Section, ...]:
    """The sections of the summary, in their order; the answer with the commands that go on from it, or without."""
    content = {
        ANSWER: _answer(report, with_commands),
        COMPARISON: _comparisons(report),
        OTHERS: _others(report),
        DATA: _data(report),
        USE: (_commands(list(next_steps.commands(group))) for group in report.groups),
        FAILURES: _failures(report),
        REPEAT: _repeats(report),
    }
    written = {title: _joined(parts) for title, parts in content.items()}
    return tuple(Section(title, text) for title, text in written.items() if text or title != OTHERS)


def _joined(parts: Iterable[str]) -> str:
    """Paragraphs; parts may be empty."""
    return "\n\n".join(part for part in parts if part)


def _comparisons(report: Report) -> Iterator[str]:
    yield f"{NOTES['comparison']} {reproduce.memory_source(report.runs)}"
    for group in report.groups:
        yield f"### {escape_markdown(group.title)}" if len(report.groups) > 1 else ""
        yield from _comparison(group)
    for group in report.across_stages:
        yield f"### {escape_markdown(group.title)}"
        yield group.note or NOTES["across"]
        yield from _comparison(group)
    yield _bullets([note for run in report.runs for note in comparison_notes.notes(run)])


def _others(report: Report) -> Iterator[str]:
    if report.peft_results is not None:
        yield escape_markdown(peft_note(report.peft_results))
        yield _table(peft_table(report.peft_results))
        yield _bullets(peft_left_out(report.peft_results))


def _data(report: Report) -> Iterator[str]:
    for preview in report.data_previews:
        yield f"### {escape_markdown(preview.title)}" if len(report.data_previews) > 1 else ""
        yield escape_markdown(preview.facts)
        yield _bullets(preview.remarks)
    yield escape_markdown(missing_data_note(report.runs))


def _failures(report: Report) -> Iterator[str]:
    unfinished = trial_tables.unfinished(report.groups)
    yield _table(unfinished) if unfinished.rows else "Every trial ran to the end."


def _repeats(report: Report) -> Iterator[str]:
    for run in report.runs:
        yield from _repeat(run, several=len(report.runs) > 1)
    yield reproduce.REPEATABILITY


def _answer(report: Report, with_commands: bool) -> Iterator[str]:
    if report.unfinished_sentence is not None:
        yield f"**{escape_markdown(report.unfinished_sentence)}**"
        resuming = [each.command for each in report.unfinished if each.command is not None]
        yield "To finish it:" if resuming else ""
        yield _commands(resuming)
    if report.findings:
        yield f"Claims:\n\n{_bullets(claim_sentences(report.findings))}"
        yield NOTE
    if not report.answers:
        yield NO_ANSWER
    for answer in report.answers:
        title = f"**{escape_markdown(answer.title)}.** " if len(report.answers) > 1 else ""
        yield title + escape_markdown(" ".join(answer.sentences))
        yield escape_markdown(answer.explanation or "")
        if len(answer.questions) > 1:
            yield f"Not settled:\n\n{_bullets(answer.questions)}"
        else:
            yield escape_markdown(answer.open_questions or "")
    if report.first_commands and with_commands:
        yield "Try it:"
        yield _commands(report.first_commands)
    yield "\n".join(f"- {escape_markdown(name)}: <{url}>" for name, url in report.tracker_pages.items())


def _bullets(texts: Sequence[str]) -> str:
    return "\n".join(f"- {escape_markdown(text)}" for text in texts)


def _commands(commands: Sequence[str]) -> str:
    return _fenced("\n".join(commands)) if commands else ""


def _comparison(group: Group) -> Iterator[str]:
    yield escape_markdown(chosen_and_judged([row.cell for row in group.rows]) or "")
    yield _table(tables.comparison(group))
    yield escape_markdown(front_sentence(group) or "")
    for note, details in (
        (NOTES["quality"], tables.quality_details(group)),
        ("", tables.cost_details(group)),
    ):
        if len(details.columns) > 1:
            yield note
            yield _table(details)
    changes = tables.gained_and_lost(group)
    if group.sets and len(changes.columns) > 1:
        yield f"Gained and lost. {NOTES['forgetting']}"
        yield _table(changes)
    for sentence in not_measured(group.all_rows):
        yield escape_markdown(sentence)
    if len(group.scored_rows) > 1:
        yield NOTES["pairs"]
        yield _table(tables.cell_pairs(group))


def _repeat(run: Run, several: bool) -> Iterator[str]:
    yield f"### {escape_markdown(run.name)}" if several else ""
    yield "\n".join(f"- {name}: {escape_markdown(value)}" for name, value in reproduce.facts(run))
    yield _bullets(reproduce.plan_notes(run))
    if run.spec:
        yield _fenced(run.spec, "yaml")


def _fenced(text: str, language: str = "") -> str:
    # Longer than any run of backticks in the text. The second 3 is for a text without any: `max` of a single
    # number is an error.
    fence = "`" * max(3, *(len(ticks) + 1 for ticks in re.findall("`+", text)), 3)
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"


def _table(table: Table) -> str:
    lines = ["---" if column in table.texts else "---:" for column in table.columns]
    head, *rows = ([escape_markdown(cell) for cell in row] for row in (table.columns, *table.rows))
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, lines, *rows))


def escape_markdown(text: str) -> str:
    """The text on one line, with table bars, tags, links and images escaped."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;").replace("](", "]\\(")
