"""What ``index.html`` and ``summary.md`` both show: a report over one run or several, computed once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from reports import units
from reports.analysis.across_stages import compare_across_stages
from reports.analysis.comparison import compare, table_rows
from reports.analysis.data_preview import DataPreview, data_previews
from reports.analysis.group import Group
from reports.analysis.pairs import pair_rows
from reports.analysis.recommendation.answer import Answer, answer
from reports.analysis.recommendation.front_steps import front_json
from reports.pages.next_steps import SampleAnswers, sample_answers
from trainables.results import Run

NO_ANSWER = "No trial has left a record yet, so there is no answer."

_PARETO = (
    "The line is the Pareto front: no cell beats a cell on it in both quality and memory (the largest peak of loading, "
    "training and scoring; peaks within 2 % are equal). Each large point is the best trial of a cell, chosen by the "
    "validation rows, with the 95 % interval of its quality; it is filled where the cell is on the front in at least "
    "95 % of 1,000 resamples of the test rows. Small points are all other trials."
)
NOTES = {
    "pareto": f"Higher is better quality, further left is less memory. {_PARETO}",
    "pareto-lower": f"Lower is better quality, further left is less memory. {_PARETO}",
    "comparison": "Each row shows one cell. Its best trial was chosen by its objective on the validation rows; the "
    "quality is measured on the test rows: of that trial, or where its configuration was trained again with other "
    "seeds (finalists), the mean of those. In parentheses: the 95 % interval, over test rows and over the finalists' "
    "seeds. 'Of resamples': in how many of 1,000 resamples of the test rows the cell is on the front.",
    "pairs": "Every two cells: better, worse, as good (the one-sided bound lies within the margin), or not settled. "
    "p is corrected for the number of pairs (Holm), and has to be below 4 %; after paretune settle below less: a run "
    "that is looked at again and again would else settle by chance. The interval is that of the one difference. "
    "'Settled by': the seeds or test rows that settle it at the next look with a probability of 80 %, if the true "
    "difference is the measured one, and the time for those that are not there yet.",
    "across": "These stages all learn which answers are good, so one measure compares them: pair accuracy, the share "
    "of held-out pairs of answers to one prompt of which the good one has the higher mean log-probability per token; "
    "or AUC, the same over any good and any bad answer, where a stage has no two answers to one prompt. AUC is "
    "blunter: prompts differ in how likely any answer to them is. The best trial of each cell is still the one with "
    "the best objective of its own stage.",
    "curves": "Bold lines are the best trial of each cell, thin lines the other trials. A line that ends early was "
    "stopped early.",
    "settings": "Each point is a trial. Points along a slope mean that the setting mattered; a shapeless cloud means "
    "that it did not. Importance is the share of the objective's total variance over a cell's finished trials that a "
    "setting explains, where that is more than it explains of permuted objectives; the rest is not explained.",
    "rates": "Each panel shows one cell: a parabola through the trials that ran to the end, against the logarithm of "
    "the learning rate, and its optimum with a 95 % bootstrap interval. Where the best is at an edge, a wider range "
    "may have a better one.",
    "expected": "What the best objective of so many random draws is expected to be: the mean over all sets of that "
    "many of a cell's draws. A cell whose best grows with each draw is not searched through.",
    "memory": "Each cell has three bars: the peak while loading, training and evaluating. The training peak is divided "
    "into what it consists of.",
    "data": "Training rows as the model sees them, after shortening to the cutoff. "
    "A preference pair counts as two rows; a long text counts as several, one for each piece.",
    "using": "Commands for the best trial of each cell: chat with it, export it, serve it behind an API. "
    "paretune evaluate measures it on other data.",
    "unfinished": "Running out of memory and stopping early are results too: no trial is left out.",
    "trials": "Every trial, by cell, in the order in which they started. The objective is measured on the validation "
    "rows (higher is better), the quality on the test rows.",
    "repeat": "The command, the machine, the package versions and the spec behind these numbers.",
}


@dataclass(frozen=True)
class Report:
    """The runs, the groups of comparable cells, the answer for each group, and what the models saw and answered.

    ``across_stages``: further groups, of preference stages side by side.
    """

    runs: tuple[Run, ...]
    groups: tuple[Group, ...]
    answers: tuple[Answer, ...]
    data_previews: tuple[DataPreview, ...] = ()
    across_stages: tuple[Group, ...] = ()
    sample_answers: tuple[SampleAnswers, ...] = ()

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
    def facts(self) -> str:
        """The size of the sweep in a line: ``13 trials in 4 cells, 7 min 12 s``."""
        trials = sum(record.role == "search" for run in self.runs for record in run.records)
        cells = sum(len(group.rows) for group in self.groups)
        times = [run.environment.get("seconds") for run in self.runs]
        seconds = [time for time in times if time is not None]
        duration = [units.duration(sum(seconds))] if seconds and len(seconds) == len(times) else []
        return ", ".join([f"{units.count(trials, 'trial')} in {units.count(cells, 'cell')}", *duration])


def build_report(runs: Sequence[Run]) -> Report:
    """Compares the cells of the runs and answers each group; a run that is given twice counts once."""
    unique = tuple({run.folder.resolve(): run for run in runs}.values())
    groups = tuple(compare(unique))
    across_stages = tuple(compare_across_stages(groups))
    answers = tuple(answer(group) for group in (*across_stages, *groups) if group.rows)
    samples = tuple(found for group in groups if (found := sample_answers(group)) is not None)
    return Report(unique, groups, answers, data_previews(unique), across_stages, samples)


def report_json(report: Report) -> str:
    """The answers, the cells and the pairs of cells as JSON, with ``null`` where not measured."""
    groups = report.groups
    content = {
        "title": report.title,
        "answers": [
            {"title": each.title, "sentences": list(each.sentences), "open_questions": each.open_questions}
            for each in report.answers
        ],
        "fronts": [
            {"title": group.title, "steps": front_json(group)}
            for group in (*report.across_stages, *report.trained_groups)
        ],
        "cells": table_rows(groups),
        "pairs": pair_rows(groups),
    }
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
