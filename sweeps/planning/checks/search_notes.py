"""What steers the settings of a cell's trials: results, or nothing, which is a random search."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sweeps.planning.cell import Cell
from sweeps.spec.settings import GP_TRIALS, STARTUP, STEERED_BY_RESULTS
from trainables.system.wording import counted

RANDOM = ("tpe", "random")  # samplers whose draws are random; those of others are quasi-random
SAMPLERS = {
    "tpe": "a tree-structured Parzen estimator",
    "gp": "a Gaussian process",
    "cmaes": "covariance matrix adaptation",
}


def search_notes(cells: Sequence[Cell]) -> Iterator[str]:
    """From which trial on results steer the search, once for all cells that are alike in that."""
    by_note: dict[str, list[str]] = {}
    # With one trial there is nothing to steer, and a finite space may be tried as a whole.
    searched = [cell for cell in cells if cell.trials > 1 and cell.trials != cell.size()]
    for cell in searched:
        by_note.setdefault(_note(cell), []).append(cell.name)
    for note, names in by_note.items():
        where = f" ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})" if len(by_note) > 1 else ""
        yield f"{note}{where}"


def ending_notes(cells: Sequence[Cell]) -> Iterator[str]:
    """By which rules trials end early, and what is then not known of them."""
    words = {"diverged": "whose training diverges", "overfitted": "that overfits"}
    early = {words[reason] for cell in cells for reason in cell.ending.early_exit}
    if early:
        yield f"a trial {' or '.join(sorted(early, reverse=True))} ends early (search.early_exit), but for finalists"
    compared = any(cell.rungs for cell in cells) or early
    if compared and not all(cell.ending.score_stopped for cell in cells):
        yield (
            "trials that end early are not scored on the test rows, and on CPUs their memory is predicted alone "
            "(search.score_stopped)"
        )


def _note(cell: Cell) -> str:
    sampler = cell.search.chosen_sampler
    first = (
        f"the best {len(cell.starts)} of an earlier run" if cell.starts else "each method's starting point"
    )
    before = f"{first} and {'random' if sampler in RANDOM else 'quasi-random'} draws"
    if cell.search.steers_from is not None and cell.trials > STARTUP:
        start = f"from a cell's trial {cell.search.steers_from} on ({SAMPLERS[sampler]})"
        return f"results steer the search {start}; before it come {before}"
    trials = f"random search: the {counted(cell.trials, 'trial')} of a cell are {before}"
    if cell.search.sampler == "auto":
        return f"{trials}; from {counted(GP_TRIALS, 'trial')} a cell on, results would steer it"
    if sampler in STEERED_BY_RESULTS:
        return f"{trials}; results would steer it from trial {STARTUP + 1} on"
    return f"{trials}, which no result steers"
