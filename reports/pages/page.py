"""``index.html``: one page that needs nothing else, no network and no script. The answer comes first."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from html import escape
from importlib import resources
from string import Template

from reports import units
from reports.analysis import data_preview
from reports.analysis.data_preview import Seen
from reports.analysis.group import Group
from reports.pages import html, next_steps, reproduce, tables
from reports.pages.next_steps import Samples
from reports.pages.report import EMPTY, READ, Contents
from reports.plots.figures import Figures
from trainables.results import Run


def page(contents: Contents, figures: Figures) -> str:
    """The whole page as HTML."""
    answer = f'<section class="answer" aria-labelledby="answer">{html.heading(2, "The answer", "answer")}'
    sections = [f"{answer}{_answer(contents)}</section>", *_sections(contents, figures)]
    return _shell(contents.title, contents.question or "", contents.facts, sections)


def samples_page(contents: Contents) -> str | None:
    """What the cells answer to the same prompts, on a page of its own; ``None`` without any answers."""
    sections = [_samples(number, each) for number, each in enumerate(contents.samples)]
    what = "What the best trial of each cell answers to the same held-out prompts; longer answers may be cut."
    return _shell(f"{contents.title}: answers", "", what, sections) if sections else None


def _shell(title: str, question: str, facts: str, sections: list[str]) -> str:
    templates = resources.files("reports") / "templates"
    shell = Template((templates / "page.html").read_text(encoding="utf-8"))
    return shell.substitute(
        title=escape(title),
        style=(templates / "style.css").read_text(encoding="utf-8"),
        question=html.paragraph(question, "question"),
        facts=html.paragraph(facts, "facts"),
        sections="\n".join(sections),
    )


def _samples(number: int, samples: Samples) -> str:
    shown = "".join(
        html.dialogue(
            each.prompt, [("right", each.reference), *zip(samples.cells, each.answers, strict=True)]
        )
        for each in samples.shown
    )
    return _section(f"samples-{number}", samples.title, samples.facts, shown)


def _answer(contents: Contents) -> str:
    several = len(contents.answers) > 1
    parts = [
        (html.heading(3, answer.title) if several else "")
        + html.paragraph(" ".join(answer.sentences), "say")
        + html.paragraph(answer.open_questions or "", "open")
        for answer in contents.answers
    ]
    return "\n".join(parts) or html.paragraph(EMPTY, "say")


def _sections(contents: Contents, figures: Figures) -> Iterator[str]:
    trained = [group for group in contents.groups if group.rows]
    several = len(trained) > 1

    def each(show: Callable[[Group], str]) -> str:
        return "\n".join((html.heading(3, group.title) if several else "") + show(group) for group in trained)

    yield _section("pareto", "The Pareto front", "", each(lambda group: _pareto(group, figures)))
    if contents.across:
        shown = "\n".join(_across(group, figures) for group in contents.across)
        yield _section("across", "Preference stages side by side", READ["across"], shown)
    notes = html.bullets([note for run in contents.runs for note in reproduce.notes(run)])
    yield _section("comparison", "The cells compared", READ["comparison"], each(_comparison) + notes)
    yield _section("curves", "Learning curves", READ["curves"], each(lambda group: _curves(group, figures)))
    yield _section(
        "settings", _searched(trained), READ["settings"], each(lambda group: _settings(group, figures))
    )
    reading = f"{READ['memory']} {reproduce.memory_source(contents.runs)}"
    yield _section("memory", "Memory by phase", reading, each(lambda group: _memory(group, figures)))
    yield _section(
        "data", "What the models saw", READ["data"] if contents.seen else "", _seen(contents, figures)
    )
    yield _section("using", "Using the results", READ["using"], _using(contents, each))
    yield _section("unfinished", "Failures and early stops", READ["unfinished"], _unfinished(contents))
    yield _section("trials", "Every trial", READ["trials"], each(_trials))
    yield _section("repeat", "How to repeat it", READ["repeat"], _repeat(contents.runs))


def _section(name: str, title: str, reading: str, body: str) -> str:
    how = html.paragraph(reading, "reading")
    return f'<section aria-labelledby="{name}">{html.heading(2, title, name)}{how}{body}</section>'


def _pareto(group: Group, figures: Figures) -> str:
    reading = READ["pareto" if group.higher_is_better else "pareto-lower"]
    svg = figures.inline("pareto", group)
    missing = "No trial has both a quality and a measured peak memory, so there is no front to draw."
    unplaced = [
        r for row in group.rows for r in row.cell.records if r.quality is None or r.peak_train_bytes is None
    ]
    absent = (
        f"Not in the figure, for want of a number: {units.counted(len(unplaced), 'trial')}."
        if unplaced
        else ""
    )
    return html.paragraph(reading, "reading") + html.figure(svg, absent, missing)


def _across(group: Group, figures: Figures) -> str:
    return html.heading(3, group.title) + _pareto(group, figures) + _comparison(group)


def _comparison(group: Group) -> str:
    return html.table(tables.comparison(group), f"Comparison: {group.title}")


def _curves(group: Group, figures: Figures) -> str:
    return html.figure(figures.inline("learning-curves", group), "", "No curve was recorded.")


def _searched(groups: list[Group]) -> str:
    """What was searched, by name: ``What rank, alpha and learning rate did``."""
    paths = dict.fromkeys(path for group in groups for path in group.searched)
    names = list(dict.fromkeys(map(units.leaf, paths)))
    return f"What {units.listing(names)} did" if names else "What the settings did"


def _settings(group: Group, figures: Figures) -> str:
    svg = figures.inline("settings", group)
    drawn = html.figure(svg, "", "No setting differs between trials that have an objective.")
    return drawn + html.table(tables.importances(group), f"Importance: {group.title}")


def _memory(group: Group, figures: Figures) -> str:
    return html.figure(figures.inline("memory", group), "", "No memory was measured.")


def _seen(contents: Contents, figures: Figures) -> str:
    several = len(contents.seen) > 1
    parts = [(html.heading(3, one.title) if several else "") + _saw(one, figures) for one in contents.seen]
    return "\n".join([*parts, html.paragraph(data_preview.missing(contents.runs), "note")])


def _saw(one: Seen, figures: Figures) -> str:
    return "".join(
        [
            html.paragraph(one.facts),
            html.bullets(one.remarks),
            html.figure(figures.inline("lengths", one), "", "There is no row to measure."),
            html.rows(one.examples),
        ]
    )


def _using(contents: Contents, each: Callable[[Callable[[Group], str]], str]) -> str:
    link = f'<p><a href="{next_steps.PAGE}">What each cell answers to the same held-out prompts</a></p>'
    return (link if contents.samples else "") + each(
        lambda group: html.code("\n".join(next_steps.commands(group)))
    )


def _unfinished(contents: Contents) -> str:
    table = tables.unfinished(contents.groups)
    return (
        html.table(table, "Failures and early stops")
        if table.rows
        else html.paragraph("Every trial ran to the end.")
    )


def _trials(group: Group) -> str:
    return html.table(tables.trials(group), f"Every trial: {group.title}")


def _repeat(runs: tuple[Run, ...]) -> str:
    parts = []
    for run in runs:
        parts.append(html.heading(3, run.name) if len(runs) > 1 else "")
        parts.append(html.facts(reproduce.facts(run)))
        parts.append(html.code(run.spec) if run.spec else "")
    return "\n".join([*parts, html.paragraph(reproduce.TIMING)])
