"""The results of an export's checks as tables, for the terminal and for the model card."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trainables.export.merge_effect import ScoreChange
from trainables.export.verify import Check, Difference

if TYPE_CHECKING:
    from trainables.export.exported import Exported


@dataclass(frozen=True)
class CheckTable:
    """A table with the sentence that introduces it; its texts are plain, without markup."""

    sentence: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def check_tables(exported: Exported) -> Iterator[CheckTable]:
    """A table for each comparison that was made."""
    if exported.check is not None:
        yield _difference_table(exported.check)
    if exported.change is not None:
        yield _score_table(exported.change)


def _difference_table(check: Check) -> CheckTable:
    """How far the outputs of the exported model are from those of the result."""
    differences = {
        "adapter merged into the base, in 32 bits": check.sum,
        f"rounding to {check.dtype} alone": check.rounding,
        f"the exported files, in {check.dtype}": check.files,
    }
    exact = "the adapter on its unquantized base" if check.sum is not None else "the trained weights"
    numbers = "log-probabilities" if check.files.same is not None else "rewards, or scores of labels,"
    return CheckTable(
        f"Absolute differences of {numbers} from {exact} in 32 bits, on {len(check.prompts.ids)} "
        f"{check.prompts.source}:",
        ("", "largest", "mean", "same most likely token"),
        tuple((name, *_cells(each)) for name, each in differences.items() if each is not None),
    )


def _cells(difference: Difference) -> tuple[str, str, str]:
    same = "–" if difference.same is None else f"{difference.same:.1%}"
    return f"{difference.largest:.2g}", f"{difference.mean:.2g}", same


def _score_table(change: ScoreChange) -> CheckTable:
    """How merging into the unquantized base model changed the scores."""
    return CheckTable(
        "The adapter was trained on a quantized base model and is merged into the unquantized one. The change "
        f"in scores on {change.rows} test rows:",
        ("metric", "quantized base + adapter", "merged", "change"),
        tuple(
            (name, f"{before:.4g}", f"{change.after[name]:.4g}", f"{change.after[name] - before:+.2g}")
            for name, before in change.before.items()
        ),
    )
