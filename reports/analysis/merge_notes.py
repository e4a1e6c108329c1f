"""How merging an adapter into its base model changed its scores, by measures that both have on as many rows."""

from __future__ import annotations

from collections.abc import Iterator

from reports import units
from trainables.results import Record, Run

# These measures are defined the same way in every stage; others that share a name may differ in meaning.
SAME_IN_EVERY_STAGE = ("exact_match", "auc")
MERGED_INTO = {"lora": "its base model", "qlora": "the unquantized base model"}


def notes(run: Run) -> Iterator[str]:
    """A sentence for each adapter that a later stage continued from."""
    trained = {record.trial_id: record for record in run.records}
    noted: set[str] = set()
    for merged in run.records:
        source = trained.get(merged.start_trial or "")
        # A later stage scores what it starts from as its base row, and that is the merged model.
        if merged.role == "base" and source is not None and source.trial_id not in noted:
            note = _note(source, merged)
            if note:
                noted.add(source.trial_id)
                yield note


def _note(source: Record, merged: Record) -> str | None:
    kind = (source.config.get("method") or {}).get("kind")
    same_stage = _stage(source) == _stage(merged)
    shared = [
        name
        for name in source.metrics
        if name in merged.metrics and (same_stage or name in SAME_IN_EVERY_STAGE)
    ]
    if kind not in MERGED_INTO or not shared or source.test_rows != merged.test_rows:
        return None
    changes = units.join(
        [f"{units.readable(n)} from {source.metrics[n]:.3f} to {merged.metrics[n]:.3f}" for n in shared]
    )
    rows = units.count(merged.test_rows or 0, "row")
    return (
        f"Merging {source.cell}'s adapter ({source.trial_id}) into {MERGED_INTO[kind]} changed {changes} "
        f"({rows} each)"
    )


def _stage(record: Record) -> str | None:
    return (record.config.get("stage") or {}).get("kind")
