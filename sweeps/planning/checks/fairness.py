"""Whether a plan compares like with like: the same rows, the same number of trials, no cell twice."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from sweeps.planning.cell import Cell
from sweeps.planning.checks.cell import CheckedDraft
from sweeps.planning.draft import problem_at
from sweeps.spec.problems import Problem
from sweeps.spec.spec import Spec


def warnings(spec: Spec, checked: Sequence[CheckedDraft]) -> Iterator[Problem]:
    """What makes the cells of one stage hard to compare."""
    for stage in dict.fromkeys(one.draft.stage for one in checked):
        group = [one for one in checked if one.draft.stage == stage and one.cell is not None]
        cells = [one.cell for one in group if one.cell is not None]
        for what in (_rows(cells), _trials(cells), *_twins(cells)):
            if what:
                yield problem_at(spec, group[0].draft, ("stage",), what, error=False)


def notes(cells: Sequence[Cell]) -> Iterator[str]:
    """What a reader of the plan should know, though nothing is wrong."""
    for cell in cells:
        if cell.trials < cell.search.trials:
            yield (
                f"{cell.name}: the space holds {cell.size()} {_plural(cell.size(), 'config')}, "
                f"so {cell.trials} of {cell.search.trials} trials run"
            )
        if cell.search.scheduler == "asha" and not cell.rungs:
            yield f"{cell.name}: ASHA would first compare after the {cell.steps} steps; none stops early"
    yield from dict.fromkeys(note for cell in cells for note in cell.data_notes)


def _rows(cells: Sequence[Cell]) -> str:
    if len({cell.row_counts for cell in cells}) < 2 and all(len(cell.row_counts) < 2 for cell in cells):
        return ""
    return (
        "trials train on different numbers of rows (steps x batch_size x gradient_accumulation): "
        f"{_grouped((_range(cell.row_counts), cell.name) for cell in cells)}. "
        "Give all the same, or the longest wins for its length"
    )


def _trials(cells: Sequence[Cell]) -> str:
    if len({cell.search.trials for cell in cells}) < 2:
        return ""
    counts = _grouped((str(cell.search.trials), cell.name) for cell in cells)
    return f"cells have different numbers of trials: {counts}. The best of more is better by luck alone"


def _twins(cells: Sequence[Cell]) -> Iterator[str]:
    seen: dict[str, str] = {}
    for cell in cells:
        shared = {**cell.first().canonical(), "cell": "", "method_name": ""}
        for part in ("method", "stage"):
            shared[part] = {**shared[part], "name": None}
        other = seen.setdefault(repr((shared, cell.space, cell.search)), cell.name)
        if other != cell.name:
            yield f"{other} and {cell.name} train the same thing under two names. Remove one"


def _grouped(counts: Iterable[tuple[str, str]]) -> str:
    """``320 in sft-lora, sft-qlora-4bit; 640 in sft-full``, at most three names each."""
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
