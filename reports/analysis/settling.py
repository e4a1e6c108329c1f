"""What would settle a comparison that is not settled: how many seeds or test rows, and how long that takes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from statistics import median

from reports import units
from reports.analysis.group import Group
from reports.analysis.looks import next_look
from reports.analysis.row import Row
from reports.statistics.looks import level
from reports.statistics.power import Amount, Criterion, DifferenceLaw, difference_law
from reports.text import joined, text
from trainables.results import Record

TOO_MANY = text("more seeds and test rows than are considered")  # of differences that are too small


@dataclass(frozen=True)
class OpenComparison:
    """A cell against another, or against what it was trained from, where the difference is not settled."""

    row: Row
    against: Row
    law: DifferenceLaw
    criterion: Criterion

    @property
    def trained(self) -> tuple[Row, ...]:
        """Those of the two that more seeds can be trained of."""
        return tuple(each for each in (self.row, self.against) if not each.cell.is_base)


@dataclass(frozen=True)
class Need:
    """What settles a comparison with a probability of 80 %, if the true difference is the measured one.

    ``seeds`` of each of the two, ``rows`` of the test part; ``None`` where the number stays as it is. ``seconds``: for
    what has to be added, by measured times; ``None`` where none were measured.
    """

    seeds: int | None
    rows: int | None
    seconds: float | None


def open_comparisons(group: Group, recommended: Row | None) -> Iterator[OpenComparison]:
    """The comparisons that the report names as not settled: with the best cell, and of the recommended cell with the
    model before training.
    """
    if not group.scored_rows:
        return
    best, *others = group.scored_rows
    for row in others:
        if group.verdict(row, best).outcome == "not settled":
            yield from _comparison(group, row, best)
    base = group.base_of(recommended) if recommended is not None else None
    if recommended is not None and base is not None:
        verdict = group.verdict_on_training(recommended)
        if verdict.comparison is not None and not verdict.settled:
            yield from _comparison(group, recommended, base)


def needs(group: Group, row: Row, against: Row) -> list[Need]:
    """The ways to settle a comparison that is open: more seeds, more rows, or where neither alone does, both.

    Empty where nothing is known of the error, and where no number of both does.
    """
    return [need for each in _comparison(group, row, against) for need in needs_of(group, each)]


def needs_text(group: Group, row: Row, against: Row) -> str:
    """``5 seeds (now 3, about 4 min) or 210 test rows (now 64, about 40 s)``."""
    return _ways(row, against, needs(group, row, against))


def settling_clause(group: Group, row: Row, against: Row) -> str:
    """``5 seeds (now 3, about 4 min) would settle it``."""
    return needs_clause(row, against, needs(group, row, against))


def needs_clause(row: Row, against: Row, found: list[Need]) -> str:
    """The same of needs that are known."""
    ways = _ways(row, against, found)
    return text("{ways} would settle it", ways=ways) if found else text("it takes {ways}", ways=ways)


def _ways(row: Row, against: Row, found: list[Need]) -> str:
    if not found:
        return TOO_MANY
    return joined(" or ", [_need_text(row, against, need) for need in found])


def trial_seconds(row: Row) -> float | None:
    """How long one more training of a cell's best configuration takes; ``None`` where none was timed."""
    trials = row.cell.finalists or ([row.best] if row.best is not None else [])
    return _median([_seconds(record) for record in trials])


def seconds_to_score(row: Row, rows: int, trials: int | None = None) -> float | None:
    """How long it takes to score so many further test rows with the models that a cell is judged by, or with so many
    of them; ``None`` where nothing was timed.
    """
    judged = row.cell.judged_trials
    per_row = _median([_seconds_per_row(record) for record in judged])
    loading = _median([record.setup_seconds for record in judged]) or 0.0
    count = len(judged) if trials is None else trials
    return None if per_row is None else count * (loading + per_row * rows)


def _comparison(group: Group, row: Row, against: Row) -> Iterator[OpenComparison]:
    if row.cell.estimate is None or against.cell.estimate is None:
        return
    law = difference_law(
        row.cell.estimate, against.cell.estimate, group.seed_variance, higher_is_better=group.higher_is_better
    )
    if law is None:
        return
    # It is settled at a later look, which has to be more certain.
    error = level(max(next_look(each.cell.run.folder) for each in group.all_rows))
    base = against.cell.is_base
    pairs = 1 if base else _corrected_for(group, row, against)
    yield OpenComparison(row, against, law, Criterion(error / pairs, error, None if base else group.margin))


def _corrected_for(group: Group, row: Row, against: Row) -> int:
    """For how many pairs Holm's procedure corrects this one: for all whose p-value is not smaller."""
    own = group.verdict(row, against).comparison
    labels = [each.cell.label for each in group.scored_rows]
    others = [
        verdict.comparison.p
        for (one, other), verdict in group.verdicts.items()
        if labels.index(one) < labels.index(other) and verdict.comparison is not None
    ]
    return max(1, sum(own is not None and p >= own.p for p in others))


def needs_of(group: Group, each: OpenComparison) -> Iterator[Need]:
    """The ways to settle a comparison by its law and its criterion."""
    now, estimate = each.law.measured, each.row.cell.estimate
    assert estimate is not None
    rows_per_prompt = estimate.rows / estimate.clusters
    seeds, prompts = each.law.seeds_needed(each.criterion), each.law.rows_needed(each.criterion)
    if seeds is not None:
        yield Need(seeds, None, _training_seconds(each, seeds))
    if prompts is not None:
        rows = round(prompts * rows_per_prompt)
        yield Need(None, rows, _scoring_seconds(group, rows - estimate.rows))
    if seeds is None and prompts is None:
        factor = next((factor for factor in _FACTORS if _enough(each, now, factor)), None)
        if factor is not None and each.law.degrees is not None:
            rows, seeds = estimate.rows * factor, max(now.seeds) * factor
            parts = _training_seconds(each, seeds), _scoring_seconds(group, rows - estimate.rows)
            known = [part for part in parts if part is not None]
            yield Need(seeds, rows, sum(known) if len(known) == len(parts) else None)


_FACTORS = (2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 50, 100)


def _enough(each: OpenComparison, now: Amount, factor: int) -> bool:
    more = Amount(now.rows * factor, (now.seeds[0] * factor, now.seeds[1] * factor))
    return each.law.would_settle(more, each.criterion)


def _training_seconds(each: OpenComparison, seeds: int) -> float | None:
    parts = [(max(0, seeds - row.seeds), trial_seconds(row)) for row in each.trained]
    known = [count * seconds for count, seconds in parts if seconds is not None]
    return sum(known) if len(known) == len(parts) else None


def _scoring_seconds(group: Group, rows: int) -> float | None:
    """Of further rows with all models of the group, which have to be scored on the same ones."""
    parts = [seconds_to_score(row, rows) for row in group.all_rows if row.quality is not None]
    known = [seconds for seconds in parts if seconds is not None]
    return sum(known) / len(known) * len(parts) if known else None


def _need_text(row: Row, against: Row, need: Need) -> str:
    estimate, held_out = row.cell.estimate, _held_out(row)
    assert estimate is not None
    time = [text("about {time}", time=units.duration(need.seconds))] if need.seconds is not None else []
    rows_now = [text("now {count}", count=estimate.rows)]
    if held_out is not None:
        rows_now.append(text("{count} are held out", count=held_out))
    seeds_now = [
        text("now {count}", count=min(each.seeds for each in (row, against) if not each.cell.is_base))
    ]
    # The time is that of all that has to be added: it stands last.
    seeds = _amount(
        text("{count} seeds", count=need.seeds), [*seeds_now, *(time if need.rows is None else [])]
    )
    rows = _amount(text("{count} test rows", count=need.rows), [*rows_now, *time])
    if need.seeds is not None and need.rows is not None:
        return text("{seeds} with {rows}", seeds=seeds, rows=rows)
    return seeds if need.rows is None else rows


def _amount(amount: str, details: list[str]) -> str:
    return text("{amount} ({details})", amount=amount, details=joined(", ", details))


def _held_out(row: Row) -> int | None:
    """How many test rows the data has, as far as the run says so."""
    counts = row.cell.run.environment.get("test_rows") or {}
    return counts.get(row.cell.name)


def _seconds(record: Record) -> float | None:
    if record.started_at is not None and record.ended_at is not None:
        begun, ended = (datetime.fromisoformat(text) for text in (record.started_at, record.ended_at))
        return (ended - begun).total_seconds()
    parts = (record.setup_seconds, record.train_seconds, record.eval_seconds)
    return sum(part or 0.0 for part in parts) if record.train_seconds is not None else None


def _seconds_per_row(record: Record) -> float | None:
    """Of scoring; where that was not timed by itself, an upper bound that has the validations in it."""
    seconds = record.test_seconds if record.test_seconds is not None else record.eval_seconds
    return seconds / record.test_rows if seconds is not None and record.test_rows else None


def _median(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None
