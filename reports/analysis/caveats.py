"""What a comparison leaves open: ties, a single seed, cells that failed, settings at the edge of their domain."""

from __future__ import annotations

from collections.abc import Iterator

from reports import units
from reports.analysis import studies
from reports.analysis.difference import Difference, difference
from reports.analysis.group import Group, Row

MIN_DONE_TRIALS = 3  # with fewer finished trials, a cell has hardly been searched


def caveats(group: Group, recommended: Row | None, ties: dict[str, Difference]) -> list[str]:
    """The open questions of one group as clauses, the most important first.

    ``ties``: the cells, by label, that can't be told apart from the best.
    """
    if recommended is None:
        return []
    return [
        *_ties(group, ties),
        *_no_better_than_base(group, recommended),
        *_without_result(group),
        *_few_trials(group),
        *_at_the_edge(group),
        *_memory(group),
        *_different_rows(group),
        *_one_seed(group),
    ]


def _ties(group: Group, ties: dict[str, Difference]) -> Iterator[str]:
    names = {row.cell.label: row.name for row in group.rows}
    best = group.scored_rows[0].name
    for label, verdict in ties.items():
        if verdict.settled is False:
            yield f"{names[label]} and {best} differ by no more than the error ({verdict.basis})"
    unknown = [names[label] for label, verdict in ties.items() if verdict.settled is None]
    if unknown:
        yield f"the error of the difference between {units.join(unknown)} and {best} is unknown"


def _no_better_than_base(group: Group, recommended: Row) -> Iterator[str]:
    base = group.base_of(recommended)
    if base is None or base.best is None or recommended.best is None:
        return
    verdict = difference(recommended.cell.run, recommended.best, base.cell.run, base.best)
    if verdict.settled is False:
        yield f"{recommended.name} and {base.description} differ by no more than the error ({verdict.basis})"


_ENDED = {"failed": ("failed", "failed"), "out_of_memory": ("did not fit in memory",) * 2,
          "interrupted": ("was interrupted", "were interrupted")}  # fmt: skip


def _without_result(group: Group) -> Iterator[str]:
    for status, (singular, plural) in _ENDED.items():
        rows = [row for row in group.rows if row.counts[status]]
        if rows:
            count = sum(row.counts[status] for row in rows)
            names = units.join([row.name for row in rows])
            yield f"{units.count(count, 'trial')} {singular if count == 1 else plural} ({names})"
    # Apart from the counts above: a cell may have failed trials and a result, or neither.
    without = [row.name for row in group.rows if row.quality is None]
    if without:
        yield f"{units.join(without)} {'has' if len(without) == 1 else 'have'} no result"


def _few_trials(group: Group) -> Iterator[str]:
    by_count: dict[int, list[str]] = {}
    for row in group.scored_rows:
        done = sum(record.status == "done" for record in row.cell.search_trials)
        if done < MIN_DONE_TRIALS:
            by_count.setdefault(done, []).append(row.name)
    for count, names in sorted(by_count.items()):
        each = "has" if len(names) == 1 else "each have"
        yield f"{units.join(names)} {each} only {units.count(count, 'trial')} that ran to the end"


def _at_the_edge(group: Group) -> Iterator[str]:
    for row in group.scored_rows:
        domains = studies.domains(row.cell.study)
        for path, value in row.settings.items():
            if path.endswith("learning_rate") and path in domains:
                edge = studies.edge(value, domains[path])
                if edge:
                    yield f"{row.name}'s best {units.setting_name(path)} lies at the {edge} end of its search domain"


def _memory(group: Group) -> Iterator[str]:
    missing = [row.name for row in group.scored_rows if row.peak is None]
    if len(missing) == len(group.scored_rows):
        yield "memory was not measured"
    elif missing:
        yield f"the memory of {units.join(missing)} was not measured"
    for row in group.scored_rows:
        workers = row.best.workers if row.best is not None and row.peak is not None else None
        if workers is not None and workers > 1:
            yield f"{row.name}'s memory is that of each of its {workers} workers"


def _different_rows(group: Group) -> Iterator[str]:
    bests = [row.best for row in group.all_rows if row.best is not None]
    if len({best.data_sha256 for best in bests if best.data_sha256}) > 1:
        yield "the cells did not train on the same rows"
    if len({best.template_sha256 for best in bests if best.template_sha256}) > 1:
        yield "the cells did not use the same chat template"


def _one_seed(group: Group) -> Iterator[str]:
    """Says nothing once a winner was trained again with another seed."""
    seeds = {
        record.seed for row in group.scored_rows for record in row.cell.records if record.status == "done"
    }
    if len(seeds) == 1:
        yield f"only one seed ({seeds.pop()}) was used"
