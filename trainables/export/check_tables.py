"""What an export's checks found, as tables: for the terminal and for the card."""

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
    """A table, and the sentence before it; plain texts."""

    sentence: str
    names: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def check_tables(exported: Exported) -> Iterator[CheckTable]:
    """All that was compared."""
    if exported.check is not None:
        yield checked(exported.check)
    if exported.change is not None:
        yield changed(exported.change)


def checked(check: Check) -> CheckTable:
    """How the export compares with what it was made of."""
    found = {
        "adapter and base summed, in 32 bits": check.sum,
        f"{check.dtype} by itself": check.rounding,
        f"the exported files, in {check.dtype}": check.files,
    }
    exact = "the adapter on its unquantized base" if check.sum is not None else "the trained weights"
    numbers = "log-probabilities" if check.files.same is not None else "rewards"
    return CheckTable(
        f"Absolute differences of {numbers} from {exact} in 32 bits, on {len(check.prompts.ids)} "
        f"{check.prompts.source}:",
        ("", "greatest", "mean", "same most likely token"),
        tuple((name, *_numbers(each)) for name, each in found.items() if each is not None),
    )


def _numbers(found: Difference) -> tuple[str, str, str]:
    return f"{found.greatest:.2g}", f"{found.mean:.2g}", "–" if found.same is None else f"{found.same:.1%}"


def changed(change: ScoreChange) -> CheckTable:
    """What merging onto the unquantized base did to the scores."""
    return CheckTable(
        "The adapter was trained on a quantized base and is merged into the unquantized one. What that changes, on "
        f"{change.rows} test rows:",
        ("metric", "quantized base + adapter", "merged", "change"),
        tuple(
            (name, f"{before:.4g}", f"{change.after[name]:.4g}", f"{change.after[name] - before:+.2g}")
            for name, before in change.before.items()
        ),
    )
