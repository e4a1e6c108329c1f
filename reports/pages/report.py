"""What ``index.html`` and ``summary.md`` both show: a report over one run or several, computed once."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from reports import units
from reports.analysis.across_stages import compare_across_stages
from reports.analysis.cell_table import table_rows
from reports.analysis.comparison import compare
from reports.analysis.data_preview import DataPreview, data_previews
from reports.analysis.group import Group
from reports.analysis.pairs import pair_rows
from reports.analysis.peft_results import PeftResults
from reports.analysis.recommendation.answer import Answer, answer
from reports.analysis.recommendation.front_steps import front_json
from reports.analysis.runs.progress import Progress, progress
from reports.claims.finding import Finding
from reports.claims.findings import findings
from reports.claims.stated import stated_claims
from reports.claims.values import claims_json
from reports.pages import reproduce
from reports.pages.next_steps import SampleAnswers, first_command, sample_answers
from reports.pages.peft_table import peft_json
from reports.text import LANGUAGES, translated
from trainables.results import Run

NO_ANSWER = "No trial has left a record yet, so there is no answer."

MAX_NAMED_CELLS = 4  # that an unfinished run is said to have trials to go in


@dataclass(frozen=True)
class Report:
    """The runs, the groups of comparable cells, the answer for each group, and what the models saw and answered.

    ``findings``: on what the runs' specs claim. ``across_stages``: further groups, of preference stages side by side.
    ``first_commands`` try what is recommended. ``peft_results``: others' measurements, which nothing else is about.
    """

    runs: tuple[Run, ...]
    groups: tuple[Group, ...]
    answers: tuple[Answer, ...]
    data_previews: tuple[DataPreview, ...] = ()
    across_stages: tuple[Group, ...] = ()
    sample_answers: tuple[SampleAnswers, ...] = ()
    first_commands: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    peft_results: PeftResults | None = None

    @property
    def trained_groups(self) -> list[Group]:
        """The groups with at least one cell that was trained, not only scored."""
        return [group for group in self.groups if group.rows]

    @property
    def title(self) -> str:
        return units.join([str(run.environment.get("name") or run.name) for run in self.runs])

    @property
    def question(self) -> str | None:
        """The questions of the runs' specs, each once."""
        questions = dict.fromkeys(q for run in self.runs if (q := run.environment.get("question")))
        return " ".join(map(str, questions)) or None

    @property
    def unfinished(self) -> list[Progress]:
        """How far the runs are that have not ended."""
        return [found for run in self.runs if (found := progress(run)) is not None]

    @property
    def unfinished_sentence(self) -> str | None:
        """``Unfinished: 5 of 6 trials to go.`` with the commands that finish the runs; ``None`` for ended runs."""
        if not self.unfinished:
            return None
        several = len(self.runs) > 1
        counts = [
            f"{f'{each.run}: ' if several else ''}{each.text}, in {_few(each.cells)}"
            for each in self.unfinished
        ]
        return f"Unfinished: {'; '.join(counts)}. What follows is about the trials that have ended, and may change."

    @property
    def tracker_pages(self) -> dict[str, str]:
        """The addresses of trackers' pages about the runs, by what they show."""
        several = len(self.runs) > 1
        return {
            f"{f'{run.name}: ' if several else ''}{label}": address
            for run in self.runs
            for label, address in run.pages.items()
        }

    @property
    def facts(self) -> str:
        """The size of the sweep in a line, in the words of ``paretune plan``:
        ``18 trials in 3 cells (12 of the search, then 6 finalists), 7 min 12 s``.
        """
        ended = [record for run in self.runs for record in run.records if record.status != "interrupted"]
        roles = Counter(record.role for record in ended)
        search, finalists = roles["search"], roles["finalist"]
        cells = units.count(sum(len(group.rows) for group in self.groups), "cell")
        text = f"{units.count(search + finalists, 'trial')} in {cells}"
        if finalists:
            text += f" ({search} of the search, then {units.count(finalists, 'finalist')})"
        if roles["added"]:
            text += f", and {roles['added']} added by hand"
        time = reproduce.wall_time(self.runs)
        parts = [text, *([time] if time else [])]
        return ", ".join(parts) + (" so far" if self.unfinished else "")


def build_report(
    runs: Sequence[Run],
    claims: Sequence[Mapping[str, Any]] = (),
    peft_results: PeftResults | None = None,
) -> Report:
    """Compares the cells of the runs and answers each group; a run that is given twice counts once.

    ``claims``: further ones than those of the runs, about all of their cells. ``peft_results`` stand beside.

    Raises ``ValueError`` for runs that can't be compared.
    """
    unique = tuple({run.folder.resolve(): run for run in runs}.values())
    groups = tuple(compare(unique))
    across_stages = tuple(compare_across_stages(groups))
    answers = _explained_once(answer(group) for group in (*across_stages, *groups) if group.rows)
    samples = tuple(found for group in groups if (found := sample_answers(group)) is not None)
    tries = tuple(dict.fromkeys(command for group in groups if (command := first_command(group)) is not None))
    answered = tuple(findings(stated_claims(unique, claims), groups))
    previews = data_previews(unique)
    return Report(unique, groups, answers, previews, across_stages, samples, tries, answered, peft_results)


def _explained_once(answers: Iterable[Answer]) -> tuple[Answer, ...]:
    """The answers with what a quality means only where it is met first."""
    explained: set[str] = set()
    found = []
    for each in answers:
        # The first sentence says what is meant; those after it have the numbers of a group.
        meaning = (each.explanation or "").partition(".")[0]
        found.append(replace(each, explanation=None) if meaning in explained else each)
        explained.add(meaning)
    return tuple(found)


def _few(cells: Sequence[str]) -> str:
    """The names of a few cells, the number of many."""
    return units.join(list(cells)) if len(cells) <= MAX_NAMED_CELLS else units.count(len(cells), "cell")


def report_json(report: Report) -> str:
    """:func:`report_values` as JSON."""
    return json.dumps(report_values(report), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def report_values(report: Report) -> dict[str, Any]:
    """The claims, the answers, the cells and the pairs of cells as plain values, with ``None`` where not measured."""
    groups = report.groups
    return {
        "title": report.title,
        "unfinished": [
            {"run": each.run, "to_go": each.to_go, "trials": each.total} for each in report.unfinished
        ],
        "claims": claims_json(report.findings),
        "answers": _answers(report),
        "translations": _translations(report),
        "pages": report.tracker_pages,
        "fronts": [
            {"title": group.title, "steps": front_json(group)}
            for group in (*report.across_stages, *report.trained_groups)
        ],
        "cells": table_rows(groups),
        "pairs": pair_rows(groups),
        "peft_results": peft_json(report.peft_results),
    }


def _answers(report: Report) -> list[dict[str, Any]]:
    return [
        {
            "title": each.title,
            "sentences": list(each.sentences),
            "open_questions": each.open_questions,
            "questions": list(each.questions),
            "explanation": each.explanation,
        }
        for each in report.answers
    ]


def _translations(report: Report) -> dict[str, Any]:
    """What the report answers in further languages: the same values, of which the sentences are other ones."""
    said = {"answers": _answers(report), "claims": claims_json(report.findings)}
    return {language: translated(said, language) for language in LANGUAGES}
