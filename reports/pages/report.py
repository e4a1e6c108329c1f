"""What the page and ``summary.md`` both say: the report of some runs, gathered once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reports import units
from reports.analysis.across_stages import across
from reports.analysis.answer import Answer, answer
from reports.analysis.comparison import compare
from reports.analysis.data_preview import Seen, seen
from reports.analysis.group import Group
from reports.pages.next_steps import Samples, samples
from trainables.results import Run

READ = {
    "pareto": "Up is better quality, left is less memory: a cell on the line is beaten by none in both. "
    "Large points are each cell's best by the validation rows, with its 95 % interval; small points are all other "
    "trials.",
    "pareto-lower": "Down is better, left is less memory: a cell on the line is beaten by none in both. "
    "Large points are each cell's best by the validation rows, with its 95 % interval; small points are all other "
    "trials.",
    "comparison": "One row a cell, its best trial chosen by the validation rows and scored once on the test "
    "rows; in brackets the 95 % interval over test rows (Wilson's of a share of rows, Newcombe's of AUC, else a "
    "bootstrap).",
    "across": "Stages that learn which answers are good, by one measure: AUC, how often a good held-out answer is "
    "likelier than a bad one, of any two, by the mean log-probability of its tokens. Each cell's best trial is still "
    "the one with the best objective of its own stage. Pairs give two answers each, labelled rows one.",
    "curves": "Bold is each cell's best trial, thin are the others; a line that ends early was stopped.",
    "settings": "Each point is a trial: a slope says that the setting mattered, a cloud that it did not. "
    "Importance is the share of the objective's variance that a setting explains (functional ANOVA).",
    "memory": "Three bars a cell: loading, training, evaluating; the training peak by what it is made of.",
    "data": "Training rows as their stage hands them to the model, after the cutoff. "
    "A preference pair counts as two rows, a long text as its pieces.",
    "using": "The best trial of each cell: talk to it, take it away, put it behind an API; paretune evaluate measures "
    "it on other data.",
    "unfinished": "Running out of memory and being stopped early are results; nothing is dropped.",
    "trials": "Every trial, cell by cell, in the order they started; the objective is from the validation "
    "rows (higher is better), the quality from the test rows.",
    "repeat": "The command, the spec and the versions behind these numbers.",
}


@dataclass(frozen=True)
class Contents:
    """A report's runs, its groups, the answer to each, what the models saw, and comparisons across stages."""

    runs: tuple[Run, ...]
    groups: tuple[Group, ...]
    answers: tuple[Answer, ...]
    seen: tuple[Seen, ...] = ()
    across: tuple[Group, ...] = ()  # stages that learn the same thing, side by side
    samples: tuple[Samples, ...] = ()

    @property
    def title(self) -> str:
        return units.listing([str(run.environment.get("name") or run.name) for run in self.runs])

    @property
    def question(self) -> str | None:
        asked = dict.fromkeys(q for run in self.runs if (q := run.environment.get("question")))
        return " ".join(map(str, asked)) or None

    @property
    def facts(self) -> str:
        """The size of it in a line: ``13 trials in 4 cells, 7 min 12 s, one seed``."""
        trials = sum(record.role == "search" for run in self.runs for record in run.records)
        cells = sum(len(group.rows) for group in self.groups)
        times = [run.environment.get("seconds") for run in self.runs]
        seconds = [time for time in times if time is not None]
        took = [units.duration(sum(seconds))] if seconds and len(seconds) == len(times) else []
        return ", ".join([f"{units.counted(trials, 'trial')} in {units.counted(cells, 'cell')}", *took])


def contents(runs: Sequence[Run]) -> Contents:
    """Compares the runs' cells and answers each group."""
    unique = tuple({run.folder.resolve(): run for run in runs}.values())
    groups = tuple(compare(unique))
    side_by_side = tuple(across(groups))
    answers = tuple(answer(group) for group in (*side_by_side, *groups) if group.rows)
    answered = tuple(found for group in groups if (found := samples(group)) is not None)
    return Contents(unique, groups, answers, seen(unique), side_by_side, answered)


EMPTY = "No trial has left a record yet, so there is no answer."
