"""What a run's report says, as trackers show it: its sections as Markdown, answers side by side, colours of methods."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainables import results
from trainables.results import Record

if TYPE_CHECKING:
    from reports.pages.report import Report

Section = tuple[str, str]  # its title, its Markdown
MAX_TEXT = 2000  # characters of a prompt or an answer in a table


@dataclass(frozen=True)
class RunReport:
    """The report of one run, whose tables are written."""

    run: results.Run

    @classmethod
    def read(cls, folder: Path) -> RunReport:
        """Raises ``FileNotFoundError`` without tables, ``DamagedFile``."""
        return cls(results.read_run(folder))

    @cached_property
    def _report(self) -> Report:
        from reports.pages.report import build_report

        return build_report([self.run])

    @property
    def title(self) -> str:
        return self._report.title

    @property
    def question(self) -> str | None:
        return self._report.question

    @property
    def facts(self) -> str:
        """The size of the sweep in a line."""
        return self._report.facts

    @cached_property
    def sections(self) -> tuple[Section, ...]:
        """The sections of the report as Markdown: the answer, the comparison, and the others, in that order."""
        from reports.pages.summary import sections

        return tuple((each.title, each.text) for each in sections(self._report))

    @property
    def searched(self) -> tuple[str, ...]:
        """The paths of the settings that any cell searched, each once."""
        return tuple(dict.fromkeys(path for group in self._report.groups for path in group.searched))

    @property
    def colours(self) -> dict[str, str]:
        """The colour of each trial's method, as in the report's figures, by the trial's id."""
        from reports.plots.style import palette

        by_method = palette(self._report.groups)
        return {record.trial_id: by_method[record.method] for record in self.run.records}

    def sample_answers(self) -> Iterator[dict[str, str]]:
        """Held-out prompts, each with its reference and the answer of the best trial of each cell."""
        for samples in self._report.sample_answers:
            for sample in samples.samples:
                answers = sample.answers_by_cell(samples.cells)
                yield {
                    "comparison": samples.title,
                    "prompt": shown_prompt(sample.prompt),
                    **{cell: shown(answer) for cell, answer in answers},
                }


def quality_interval(run_folder: Path, record: Record) -> tuple[float, float] | None:
    """The 95 % interval of a trial's quality over its test rows; ``None`` where no score of a row is known."""
    from math import isfinite

    from reports.analysis.row_scores import estimate
    from reports.statistics.intervals import interval

    run = results.Run(run_folder, [record], results.CURVES.empty_table(), None, {})
    found = estimate(run, [record])
    if found is None:
        return None
    low, high = interval(found, None)
    return (low, high) if isfinite(low) and isfinite(high) else None


def share_interval(share: float, rows: int) -> tuple[float, float]:
    """The 95 % interval of a share of rows."""
    from reports.statistics.intervals import wilson

    return wilson(share, rows)


def ending(record: Record) -> str | None:
    """Why a trial did not run to its end; ``None`` for one that did."""
    from reports.pages.trial_tables import reason

    return None if record.status == "done" and not record.ended_early else reason(record)


def shown(text: Any) -> str:
    """A text as a cell of a table: no formula of a spreadsheet, and not endless."""
    from reports.analysis.spreadsheet_cells import plain

    text = str(text)
    cut = text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]} [...]"
    return str(plain(cut))


def shown_prompt(messages: Any) -> str:
    """The messages of a prompt as one text."""
    return shown("\n".join(f"{each.get('role')}: {each.get('content')}" for each in messages))
