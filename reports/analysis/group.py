"""A group of cells that can be compared with one another: its verdicts, its margin, and what training gained."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from reports.analysis.evaluation_sets import SetResults, results_of
from reports.analysis.looks import count_looks, look_of
from reports.analysis.row import Row
from reports.statistics.intervals import SeedVariance
from reports.statistics.resampled_choice import ResampledChoice, resampled_choice
from reports.statistics.verdicts import Verdict, verdicts
from reports.text import joined, text
from trainables.results import WITHIN_ONE, Record

# How much worse a cell may be and still be as good: of a share of rows, an area under a curve or macro-F1; of other
# measures as a share of what training gained.
MARGIN, MARGIN_OF_GAIN = 0.02, 0.02
# Measures of which a model that knows nothing has one half.
CHANCE = {"auc": 0.5, "pair_accuracy": 0.5}


@dataclass(frozen=True)
class Group:
    """The cells of one stage, model and data set: the best quality first, unknown qualities last.

    ``measured`` says by what, where other cells of these are measured otherwise, and ``note`` why they are ranked
    apart, or by another measure than their stage's.
    """

    stage: str
    model: str
    data: str
    rows: tuple[Row, ...]
    bases: tuple[Row, ...]  # models before training; one for each starting point and run that scored it
    measured: str | None = None
    note: str | None = None

    @property
    def title(self) -> str:
        title = text("{stage} of {model} on {data}", stage=self.stage, model=self.model, data=self.data)
        return joined(", ", [title, self.measured]) if self.measured else title

    @property
    def all_rows(self) -> tuple[Row, ...]:
        """The cells, then the models before training."""
        return self.rows + self.bases

    def base_of(self, row: Row) -> Row | None:
        """The row of what a cell started from, if that was scored: the untuned model, or an earlier stage's best."""
        return next(iter(self.bases_of(row)), None)

    def bases_of(self, row: Row) -> list[Row]:
        """All scored rows of what a cell started from, those of its own run first: they may differ in the rows that
        they were scored on.
        """
        scored = [base for base in self.bases if base.quality is not None and base.start == row.start]
        return sorted(scored, key=lambda base: base.cell.run.folder != row.cell.run.folder)

    @property
    def base(self) -> Row | None:
        """The row of what all cells started from, if that is one model and was scored."""
        starts = {row.start for row in self.rows}
        return self.base_of(self.rows[0]) if len(starts) == 1 else None

    @property
    def scored_rows(self) -> list[Row]:
        """The rows whose best trial has a quality, the best first."""
        return [row for row in self.rows if row.quality is not None]

    @cached_property
    def searched(self) -> tuple[str, ...]:
        """The paths of the settings that any cell searched; those of methods come before those of training."""
        paths = dict.fromkeys(path for row in self.rows for path in row.cell.searched)
        # False sorts before True, and sorting is stable: within each part the paths keep their order.
        return tuple(sorted(paths, key=lambda path: path.startswith("train.")))

    @cached_property
    def sets(self) -> tuple[SetResults, ...]:
        """The further evaluation sets that cells were scored on, in the order of the spec."""
        return results_of(self.all_rows)

    @cached_property
    def metric_record(self) -> Record | None:
        """A record that states the group's metric: its name, unit and direction."""
        records = (record for row in self.all_rows for record in row.cell.records)
        return next((record for record in records if record.quality_name is not None), None)

    @property
    def higher_is_better(self) -> bool:
        return self.metric_record is None or self.metric_record.quality_higher_is_better is not False

    def is_better(self, quality: float, other: float) -> bool:
        return quality > other if self.higher_is_better else quality < other

    @property
    def unit(self) -> str | None:
        """The quality's unit."""
        return self.metric_record.quality_unit if self.metric_record else None

    @cached_property
    def seed_variance(self) -> SeedVariance | None:
        """The variance between seeds, pooled over the cells; ``None`` where no cell was trained with several."""
        return next((row.seed_variance for row in self.rows), None)

    @cached_property
    def margin(self) -> float | None:
        """How much worse a cell may be and still be as good as another, in the quality's unit.

        As the spec states it (``report.margin``); else 2 points of a share of rows, 0.02 of an area under a curve or
        of macro-F1, and 2 % of what training gained in other measures: ``None`` if the model before training was not
        scored.
        """
        stated = [(row.cell.run.environment.get("report") or {}).get("margin") for row in self.rows]
        given = [float(margin) for margin in stated if margin is not None]
        if given:
            return min(given)
        name = self.metric_record.quality_name if self.metric_record else None
        if self.unit == "fraction" or name in WITHIN_ONE:
            return MARGIN
        gain = self._largest_gain
        return MARGIN_OF_GAIN * abs(gain) if gain is not None else None

    @cached_property
    def look(self) -> int:
        """The number of this report of the runs, from 1: later ones have seeds or rows that were added to settle it."""
        return max((count_looks(row.cell.run.folder) for row in self.all_rows), default=1)

    def _look_of(self, one: str, other: str) -> int:
        """The look by whose error two cells are judged, by their labels."""
        cells = [row.cell for row in self.all_rows if row.cell.label in (one, other)]
        if len({cell.run.folder for cell in cells}) > 1:
            return self.look
        return look_of(cells[0].run.folder, *(cell.name for cell in cells)) if len(cells) == 2 else self.look

    @cached_property
    def verdicts(self) -> dict[tuple[str, str], Verdict]:
        """What is known of the difference of every two cells with a quality, by their labels."""
        return verdicts(
            {row.cell.label: row.cell.estimate for row in self.scored_rows},
            self.seed_variance,
            higher_is_better=self.higher_is_better,
            margin=self.margin,
            look_of=self._look_of,
        )

    @cached_property
    def choice(self) -> ResampledChoice | None:
        """What choosing among the cells does, by resampling; ``None`` where fewer than two have the same test rows."""
        known = {
            row.cell.label: (row.cell.estimate, row.peak)
            for row in self.scored_rows
            if row.cell.estimate is not None
        }
        return resampled_choice(known, self.seed_variance, higher_is_better=self.higher_is_better)

    def interval(self, row: Row) -> tuple[float, float] | None:
        """The 95 % interval of a row's quality on new rows; extended where the cell was chosen for its figure, as the
        best of all or of those within its memory (``choice``).
        """
        own, estimate = row.own_interval, row.cell.estimate
        if own is None or estimate is None or self.choice is None or row.cell.is_base:
            return own
        extended = self.choice.extended(row.cell.label, estimate.quality, own, estimate.proportion)
        return row.possible(extended)

    def verdict(self, row: Row, other: Row) -> Verdict:
        """What is known of one cell's quality against another's."""
        return self.verdicts[row.cell.label, other.cell.label]

    def verdict_on_training(self, row: Row) -> Verdict:
        """What is known of a cell's quality against that of what it started from."""
        base = self.base_of(row)
        if base is None or row.cell.estimate is None or base.cell.estimate is None:
            return Verdict("unknown")
        labels = row.cell.label, base.cell.label
        return verdicts(
            dict(zip(labels, (row.cell.estimate, base.cell.estimate), strict=True)),
            self.seed_variance,
            higher_is_better=self.higher_is_better,
            margin=None,
            look_of=self._look_of,
        )[labels]

    def share_of_gain(self, row: Row) -> float | None:
        """How much of what training gained at best a cell keeps: its gain over the best cell's.

        From the quality before training; where that was not scored, from 0.5 of an AUC or of a pair accuracy.

        ``None`` where the best cell's gain is not settled.
        """
        best = self.scored_rows[0] if self.scored_rows else None
        if best is None or row.quality is None or row.cell.is_base or not self._gain_is_settled:
            return None
        before, gain = self._quality_before(row), self._largest_gain
        return (row.quality - before) / gain if before is not None and gain else None

    def _quality_before(self, row: Row) -> float | None:
        base = self.base_of(row)
        if base is not None:
            return base.quality
        return CHANCE.get(self.metric_record.quality_name or "") if self.metric_record else None

    @cached_property
    def _largest_gain(self) -> float | None:
        """The best cell's quality minus that before training, in the quality's unit and sign."""
        best = self.scored_rows[0] if self.scored_rows else None
        before = self._quality_before(best) if best is not None else None
        if best is None or best.quality is None or before is None:
            return None
        return best.quality - before

    @cached_property
    def _gain_is_settled(self) -> bool:
        best, gain = self.scored_rows[0], self._largest_gain
        if gain is None or (gain > 0) is not self.higher_is_better:
            return False
        if self.base_of(best) is not None:
            return self.verdict_on_training(best).settled
        interval = self.interval(best)
        return interval is not None and not interval[0] <= 0.5 <= interval[1]
