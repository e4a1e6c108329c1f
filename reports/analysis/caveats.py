"""What a comparison leaves open: ties, one seed, cells that failed, settings at the edge of their domain."""

from __future__ import annotations

from collections.abc import Iterator

from reports import units
from reports.analysis import studies
from reports.analysis.difference import Difference, difference
from reports.analysis.group import Group, Row

FEW = 3  # finished trials; with fewer, a cell's best is hardly searched


def caveats(group: Group, use: Row | None, ties: dict[str, Difference]) -> list[str]:
    """The open questions of one group as phrases, the weightiest first."""
    if use is None:
        return []
    return [
        *_within_error(group, ties),
        *_no_better_than_base(group, use),
        *_without_result(group),
        *_few_trials(group),
        *_at_the_edge(group),
        *_memory(group),
        *_other_rows(group),
        *_one_seed(group),
    ]


def _within_error(group: Group, ties: dict[str, Difference]) -> Iterator[str]:
    names = {row.cell.label: row.name for row in group.rows}
    best = group.scored_rows[0].name
    within = [label for label, verdict in ties.items() if verdict.settled is False]
    unknown = [label for label, verdict in ties.items() if verdict.settled is None]
    for label in within:
        yield f"{names[label]} and {best} differ by no more than the error ({ties[label].how})"
    if unknown:
        listed = units.listing([names[label] for label in unknown])
        yield f"no error is known for how {listed} differ{'s' if len(unknown) == 1 else ''} from {best}"


def _no_better_than_base(group: Group, use: Row) -> Iterator[str]:
    base = group.base_of(use)
    if base is None or base.best is None or use.best is None:
        return
    verdict = difference(use.cell.run, use.best, base.cell.run, base.best)
    if verdict.settled is False:
        yield f"{use.name} and {base.described} differ by no more than the error ({verdict.how})"


_ENDED = {"failed": ("failed", "failed"), "out_of_memory": ("did not fit in memory",) * 2,
          "interrupted": ("was interrupted", "were interrupted")}  # fmt: skip


def _without_result(group: Group) -> Iterator[str]:
    for status, (one, many) in _ENDED.items():
        rows = [row for row in group.rows if row.counts[status]]
        if rows:
            count = sum(row.counts[status] for row in rows)
            names = units.listing([row.name for row in rows])
            yield f"{units.counted(count, 'trial')} {one if count == 1 else many} ({names})"
    nothing = [row.name for row in group.rows if row.quality is None]
    if nothing:
        yield f"{units.listing(nothing)} {'has' if len(nothing) == 1 else 'have'} no result"


def _few_trials(group: Group) -> Iterator[str]:
    few = [row for row in group.scored_rows if _done(row) < FEW]
    by_count: dict[int, list[str]] = {}
    for row in few:
        by_count.setdefault(_done(row), []).append(row.name)
    for count, names in sorted(by_count.items()):
        ran = "has" if len(names) == 1 else "have"
        yield f"{units.listing(names)} {ran} only {units.counted(count, 'trial')} that ran to the end"


def _done(row: Row) -> int:
    return sum(record.status == "done" for record in row.cell.search)


def _at_the_edge(group: Group) -> Iterator[str]:
    for row in group.scored_rows:
        domains = studies.domains(studies.read(row.cell))
        for path, value in row.settings.items():
            if path.endswith("learning_rate") and path in domains:
                edge = studies.at_edge(value, domains[path])
                if edge:
                    yield f"{row.name}'s best {units.leaf(path)} lies at the {edge} end of its domain"


def _memory(group: Group) -> Iterator[str]:
    missing = [row.name for row in group.scored_rows if row.peak is None]
    if len(missing) == len(group.scored_rows):
        yield "memory was not measured"
    elif missing:
        yield f"the memory of {units.listing(missing)} was not measured"
    for row in group.scored_rows:
        workers = row.best.workers if row.best is not None and row.peak is not None else None
        if workers is not None and workers > 1:
            yield f"{row.name}'s memory is what each of its {workers} workers takes"


def _other_rows(group: Group) -> Iterator[str]:
    bests = [row.best for row in group.all_rows if row.best is not None]
    if len({best.data_sha256 for best in bests if best.data_sha256}) > 1:
        yield "the cells did not train on the same rows"
    if len({best.template_sha256 for best in bests if best.template_sha256}) > 1:
        yield "the cells did not use the same chat template"


def _one_seed(group: Group) -> Iterator[str]:
    """Silent once a winner was trained again with other seeds."""
    seeds = {
        record.seed for row in group.scored_rows for record in row.cell.records if record.status == "done"
    }
    if len(seeds) == 1:
        yield f"one seed ({seeds.pop()}) only"
