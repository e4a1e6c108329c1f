"""What the rows of a comparison leave open: other training rows, test rows that were trained on, few test rows."""

from __future__ import annotations

from collections.abc import Iterator

from reports import units
from reports.analysis.group import Group
from reports.text import text

MIN_ROWS = 50  # with fewer independent test rows, 95 % intervals hold the truth less often than that


def different_rows(group: Group) -> Iterator[str]:
    bests = [row.best for row in group.all_rows if row.best is not None]
    # Stages that stand side by side read the same rows in other forms, with other hashes.
    by_stage: dict[str, set[str]] = {}
    for best in bests:
        if best.data_sha256:
            by_stage.setdefault(best.stage, set()).add(best.data_sha256)
    if any(len(hashes) > 1 for hashes in by_stage.values()):
        yield text("the cells did not train on the same rows")
    if len({best.template_sha256 for best in bests if best.template_sha256}) > 1:
        yield text("the cells did not use the same chat template")


def trained_on(group: Group) -> Iterator[str]:
    hashes = {row.best.data_sha256 for row in group.all_rows if row.best is not None}
    runs = {row.cell.run.folder: row.cell.run for row in group.all_rows}.values()
    found = [
        counts
        for run in runs
        for entry in run.data
        if (entry["stage"], entry["model"]) == (group.stage, group.model) and entry["sha256"] in hashes
        if (counts := entry.get("trained_on"))
    ]
    most = max(found, key=lambda counts: int(counts["turns"]), default=None)
    if most is not None and most["turns"]:
        yield text(
            "{turns} of {rows} ends with a user turn that was trained on, {answers} with the same answer, so that "
            "qualities on new questions may be lower"
            if int(most["turns"]) == 1
            else "{turns} of {rows} end with a user turn that was trained on, {answers} with the same answer, so that "
            "qualities on new questions may be lower",
            turns=most["turns"],
            rows=units.count(most["test_rows"], "test row"),
            answers=most["answers"],
        )
    alike = max((int(counts.get("near_duplicates") or 0) for counts in found), default=0)
    if alike:
        yield text(
            "{rows} shares 13 words in a row with a training row: it may be a near duplicate, which data.group keeps "
            "on one side of the split"
            if alike == 1
            else "{rows} share 13 words in a row with a training row: they may be near duplicates, which data.group "
            "keeps on one side of the split",
            rows=units.count(alike, "test row"),
        )


def few_rows(group: Group) -> Iterator[str]:
    estimates = [row.cell.estimate for row in group.scored_rows if row.cell.estimate is not None]
    fewest = min((estimate.clusters for estimate in estimates), default=MIN_ROWS)
    if fewest < MIN_ROWS:
        yield text(
            "{rows} is few: with fewer than {count} the intervals are too narrow"
            if fewest == 1
            else "{rows} are few: with fewer than {count} the intervals are too narrow",
            rows=units.count(fewest, "independent test row"),
            count=MIN_ROWS,
        )
