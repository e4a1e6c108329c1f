"""What a comparison leaves open: ties, a single seed, cells that failed, settings at the edge of their domain."""

from __future__ import annotations

from collections.abc import Iterator

from reports import units
from reports.analysis import studies
from reports.analysis.group import Group
from reports.analysis.recommendation import row_caveats, unsettled
from reports.analysis.recommendation.early_ends import fewer_steps
from reports.analysis.recommendation.trial_ends import outcome
from reports.analysis.row import Row
from reports.analysis.search.rate_search import LEARNING_RATE, rate_search
from reports.text import text

MOST_NAMED = 3  # cells of what is true of all
MIN_DONE_TRIALS = 3  # with fewer finished trials, a cell has hardly been searched


def caveats(group: Group, recommended: Row | None) -> list[str]:
    """The open questions of one group as clauses, the most important first."""
    if recommended is None:
        return []
    return [
        *_not_settled(group),
        *unsettled.against_the_base(group, recommended),
        *_without_result(group),
        *_few_trials(group),
        *fewer_steps(group),
        *_at_the_edge(group),
        *_at_the_end_of_those_tried(group),
        *_memory(group),
        *row_caveats.different_rows(group),
        *row_caveats.trained_on(group),
        *row_caveats.few_rows(group),
        *_lost_seeds(group),
        *_one_seed(group),
    ]


def _not_settled(group: Group) -> Iterator[str]:
    best, *others = group.scored_rows
    yield from unsettled.against_the_best(group)
    unknown = [row.name for row in others if group.verdict(row, best).outcome == "unknown"]
    if unknown:
        yield text(
            "the error of the difference between {cells} and {best} is unknown",
            cells=units.join(unknown),
            best=best.name,
        )
    if group.margin is None and not unknown and others:
        yield text(
            "which cells are as good as one another is open: it takes a margin, for which the model before training "
            "has to be scored (or set report.margin)"
        )


def _without_result(group: Group) -> Iterator[str]:
    for status in ("failed", "out_of_memory", "interrupted"):
        rows = [row for row in group.rows if row.counts[status]]
        if rows:
            count = sum(row.counts[status] for row in rows)
            yield text(
                "{trials} {outcome} ({cells})",
                trials=units.count(count, "trial"),
                outcome=outcome(status, count),
                cells=units.join([row.name for row in rows]),
            )
    # Apart from the counts above: a cell may have failed trials and a result, or neither.
    without = [row.name for row in group.rows if row.quality is None]
    if without:
        yield text(
            "{cells} has no result" if len(without) == 1 else "{cells} have no result",
            cells=units.join(without),
        )


def _few_trials(group: Group) -> Iterator[str]:
    by_count: dict[tuple[int, bool], list[str]] = {}
    for row in group.scored_rows:
        done = sum(record.status == "done" for record in row.cell.search_trials)
        # What was behind others at the same step has been tried, too.
        behind = sum(
            record.status == "stopped" and record.objective is not None and record.stop_reason is None
            for record in row.cell.search_trials
        )
        if done + behind < MIN_DONE_TRIALS:
            by_count.setdefault((done + behind, behind > 0), []).append(row.name)
    for (count, some_behind), names in sorted(by_count.items()):
        only = text(
            "only {trials} that ran to the end or were stopped behind others"
            if some_behind
            else "only {trials} that ran to the end",
            trials=units.count(count, "trial"),
        )
        if len(names) == len(group.scored_rows) > MOST_NAMED:
            yield text("every cell has {only}", only=only)
        else:
            yield text(
                "{cells} has {only}" if len(names) == 1 else "{cells} each have {only}",
                cells=units.join(names),
                only=only,
            )


def _at_the_edge(group: Group) -> Iterator[str]:
    found: dict[tuple[str, str], list[str]] = {}
    for row in group.scored_rows:
        domains = studies.domains(row.cell.study)
        for path, value in row.settings.items():
            if path.endswith("learning_rate") and path in domains:
                edge = studies.edge(value, domains[path])
                if edge:
                    found.setdefault((units.setting_name(path), edge), []).append(row.name)
    for (setting, end), names in found.items():
        yield text(
            "{cells}'s best {setting} lies at the {end} end of its search domain"
            if len(names) == 1
            else "the best {setting}s of {cells} lie at the {end} ends of their search domains",
            setting=setting,
            cells=units.join(names),
            end=text("low") if end == "low" else text("high"),
        )


def _at_the_end_of_those_tried(group: Group) -> Iterator[str]:
    """Learning rates that are the best of a cell and the lowest or highest of its trials, while its domain goes on."""
    found: dict[str, list[str]] = {}
    for row in group.scored_rows:
        search = rate_search(row.cell)
        best = row.settings.get(LEARNING_RATE)
        domain = studies.domains(row.cell.study).get(LEARNING_RATE)
        if search is None or search.curve is None or domain is None or studies.edge(best, domain):
            continue
        # What others of its cell were better than on the way has been tried, too.
        rates = [point.rate for point in search.points]
        lowest, highest = min(rates), max(rates)
        if best in (lowest, highest):
            found.setdefault("highest" if best == highest else "lowest", []).append(row.name)
    for end, names in found.items():
        yield text(
            "the best learning rate of {cells} is the {end} of those tried, and the search goes further"
            if len(names) == 1
            else "the best learning rates of {cells} are the {end} of those tried, and the search goes further",
            cells=units.join(names),
            end=text("lowest") if end == "lowest" else text("highest"),
        )


def _memory(group: Group) -> Iterator[str]:
    missing = [row.name for row in group.scored_rows if row.peak is None]
    if len(missing) == len(group.scored_rows):
        yield text("memory was not measured")
    elif missing:
        yield text("the memory of {cells} was not measured", cells=units.join(missing))
    for workers, names in _by_workers(group).items():
        yield text(
            "{cells}'s memory is that of each of its {count} workers"
            if len(names) == 1
            else "the memory of {cells} is that of each of their {count} workers",
            cells=units.join(names),
            count=workers,
        )


def _by_workers(group: Group) -> dict[int, list[str]]:
    """The names of cells whose trials were trained by several workers, by the number of these."""
    found: dict[int, list[str]] = {}
    for row in group.scored_rows:
        workers = row.best.workers if row.best is not None and row.peak is not None else None
        if workers is not None and workers > 1:
            found.setdefault(workers, []).append(row.name)
    return found


def _lost_seeds(group: Group) -> Iterator[str]:
    """Cells of whose finalists some did not end: those that did are not a fair choice of all seeds."""
    lost = [
        (row, count)
        for row in group.scored_rows
        if (
            count := sum(record.role == "finalist" and record.status != "done" for record in row.cell.records)
        )
    ]
    if lost:
        ended = sum(len(row.cell.finalists) for row, _ in lost)
        count = sum(count for _, count in lost)
        yield text(
            "{count} of {trainings} of {cells} with other seeds did not end, so that its figure may be too good"
            if len(lost) == 1
            else "{count} of {trainings} of {cells} with other seeds did not end, so that their figures may be too "
            "good",
            count=count,
            trainings=units.count(count + ended, "training"),
            cells=units.join([row.name for row, _ in lost]),
        )


def _one_seed(group: Group) -> Iterator[str]:
    """Says what the comparison holds for where no cell was trained with several seeds, or where some were not."""
    once = [row.name for row in group.scored_rows if row.seeds == 1]
    if group.seed_variance is not None and once:
        yield text(
            "{cells} was trained once, so that how much other seeds change it is taken from the other cells"
            if len(once) == 1
            else "{cells} were trained once, so that how much other seeds change them is taken from the other cells",
            cells=units.join(once),
        )
    if group.seed_variance is None:
        seeds = {record.seed for row in group.scored_rows for record in row.cell.judged_trials}
        yield text(
            "each cell was trained once{seed}, so that all of this is about these trained models on these test rows: "
            "trained again, they may come out otherwise",
            seed=text(" (seed {value})", value=seeds.pop()) if len(seeds) == 1 else "",
        )
