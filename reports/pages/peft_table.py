"""PEFT's published comparison of methods as a table of a report: others' measurements, and said to be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from reports import units
from reports.analysis.peft_results import PeftResult, PeftResults
from reports.pages.tables import Table, without_empty

TITLE = "Measured by others: PEFT's comparison of methods"
COLUMNS: dict[str, Callable[[PeftResult], str]] = {
    "experiment": lambda each: each.experiment,
    "method": lambda each: each.method,
    "test accuracy": lambda each: units.quality(each.accuracy, "fraction"),
    "most memory reserved": lambda each: units.gib(each.peak_bytes),
    "forgetting (nats per token)": lambda each: units.number(each.forgetting),
    "training time": lambda each: units.duration(each.train_seconds),
    "trainable parameters": lambda each: units.number(each.trainable_params),
    "size of its file": lambda each: units.size(each.file_bytes),
    "learning rate": lambda each: units.number(each.learning_rate),
    "steps": lambda each: str(each.steps) if each.steps is not None else units.UNKNOWN,
}
TEXTS = frozenset({"experiment", "method"})


def peft_note(found: PeftResults) -> str:
    """Whose measurements these are, and that nothing else in the report is about them."""
    return (
        f"None of this was measured by Paretune. {units.count(len(found.results), 'result file')} of PEFT's "
        f"method_comparison, from the folder {found.folder}, about {units.join(list(found.models))}; each row is one "
        "training with one seed, on the data and the machine of those who published it. No answer, claim, verdict or "
        "figure of this report takes these numbers into account, and they can't be compared with this report's cells: "
        "model, data, steps, measures and machine are others."
    )


def peft_left_out(found: PeftResults) -> list[str]:
    """A sentence for each file that was left out."""
    return [f"Left out: {each}" for each in found.left_out]


def peft_table(found: PeftResults) -> Table:
    """One row for each result file, the best accuracy first."""
    rows = [tuple(show(each) for show in COLUMNS.values()) for each in found.results]
    return without_empty(Table(tuple(COLUMNS), rows, TEXTS))


def peft_json(found: PeftResults | None) -> dict[str, Any] | None:
    """The same as plain values."""
    if found is None:
        return None
    return {
        "folder": found.folder,
        "note": peft_note(found),
        "results": [asdict(each) for each in found.results],
        "left_out": list(found.left_out),
    }
