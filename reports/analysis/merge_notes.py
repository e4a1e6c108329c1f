"""What merging an adapter into its base has changed, where both were scored by the same measure on as many rows."""

from __future__ import annotations

from collections.abc import Iterator

from reports import units
from trainables.results import Record, Run

# By the same rule in every stage; what else shares its name need not mean the same.
ALIKE = ("exact_match", "auc")
INTO = {"lora": "its base", "qlora": "the base as it is without quantization"}


def notes(run: Run) -> Iterator[str]:
    """A sentence for each adapter that a later stage went on from."""
    trained = {record.trial_id: record for record in run.records}
    told: set[str] = set()
    for merged in run.records:
        source = trained.get(merged.start_trial or "")
        if merged.role == "base" and source is not None and source.trial_id not in told:
            note = _note(source, merged)
            told |= {source.trial_id} if note else set()
            yield from [note] if note else []


def _note(source: Record, merged: Record) -> str | None:
    kind = (source.config.get("method") or {}).get("kind")
    same_stage = _stage(source) == _stage(merged)
    shared = [name for name in source.metrics if name in merged.metrics and (same_stage or name in ALIKE)]
    if kind not in INTO or not shared or source.test_rows != merged.test_rows:
        return None
    changes = units.listing(
        [f"{units.words(n)} from {source.metrics[n]:.3f} to {merged.metrics[n]:.3f}" for n in shared]
    )
    rows = units.counted(merged.test_rows or 0, "row")
    return (
        f"Merging {source.cell}'s adapter ({source.trial_id}) into {INTO[kind]} took {changes} ({rows} each)"
    )


def _stage(record: Record) -> str | None:
    return (record.config.get("stage") or {}).get("kind")
