"""Whether a plan compares like with like: the same rows, the same number of trials, no cell twice."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from sweeps.planning.cell import Cell
from sweeps.planning.checks.cell import CheckedDraft
from sweeps.spec.problems import Problem
from sweeps.spec.settings import LEAST_UPDATES


def warnings(checked: Sequence[CheckedDraft]) -> Iterator[Problem]:
    """What makes the cells of one stage hard to compare."""
    for stage in dict.fromkeys(each.draft.stage for each in checked):
        group = [each for each in checked if each.draft.stage == stage and each.cell is not None]
        cells = [each.cell for each in group if each.cell is not None]
        for what in (_unequal_rows(cells), _unequal_trials(cells), *_duplicates(cells)):
            if what:
                yield group[0].draft.problem(("stage",), what, error=False)


def notes(cells: Sequence[Cell]) -> Iterator[str]:
    """What a reader of the plan should know although nothing is wrong."""
    for cell in cells:
        if cell.trials < cell.search.trials:
            yield (
                f"{cell.name}: the search space holds {cell.size()} {_plural(cell.size(), 'config')}, "
                f"so {cell.trials} of {cell.search.trials} trials run"
            )
        # A grace period that the spec gives is a warning at its line.
        compared = cell.search.scheduler == "asha" and cell.holds_out
        if compared and cell.trials > 1 and not cell.rungs and cell.search.grace_steps is None:
            end = f"{cell.steps} {_plural(cell.steps, 'step')}"
            yield (
                f"{cell.name}: trials of {end} are too short to compare them after {LEAST_UPDATES} updates with a rate "
                "above 0, so none is stopped early"
            )
    yield from dict.fromkeys(note for cell in cells for note in cell.data_notes)


def _unequal_rows(cells: Sequence[Cell]) -> str:
    # Equal counts are not enough: a space that varies the number of rows has several in every cell.
    if len({cell.row_counts for cell in cells}) < 2 and all(len(cell.row_counts) < 2 for cell in cells):
        return ""
    counts = _by_count((_range(cell.row_counts), cell.name) for cell in cells)
    return (
        f"trials train on different numbers of rows (steps x batch_size x gradient_accumulation): {counts}. "
        "Train all on the same number, or the one that trains longest may win for that alone"
    )


def _unequal_trials(cells: Sequence[Cell]) -> str:
    if len({cell.search.trials for cell in cells}) < 2:
        return ""
    counts = _by_count((str(cell.search.trials), cell.name) for cell in cells)
    return (
        f"cells have different numbers of trials: {counts}. The best of more trials is better by luck alone"
    )


def _duplicates(cells: Sequence[Cell]) -> Iterator[str]:
    """Cells that differ in nothing but their names."""
    seen: dict[str, str] = {}
    for cell in cells:
        nameless = {**cell.first().canonical(), "cell": "", "method_name": ""}
        for part in ("method", "stage"):
            nameless[part] = {**nameless[part], "name": None}
        # The first config alone doesn't identify a cell: two may share it and differ in space or search.
        first = seen.setdefault(repr((nameless, cell.space, cell.search)), cell.name)
        if first != cell.name:
            yield f"{first} and {cell.name} train the same thing under two names. Remove one"


def _by_count(counts: Iterable[tuple[str, str]]) -> str:
    """``320 in sft-lora, sft-qlora-4bit; 640 in sft-full``, with at most three names each."""
    groups: dict[str, list[str]] = {}
    for count, name in counts:
        groups.setdefault(count, []).append(name)
    return "; ".join(
        f"{count} in {', '.join(names[:3])}" + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        for count, names in groups.items()
    )


def _range(counts: Sequence[int]) -> str:
    return f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"


def _plural(count: int | None, noun: str) -> str:
    return noun if count == 1 else f"{noun}s"
