"""Whether methods are compared over seeds, or by the luck of one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sweeps.planning.checks.cell import CheckedDraft
from sweeps.spec.problems import Problem

SEED = ("train", "seed")


def problems(checked: Sequence[CheckedDraft]) -> Iterator[Problem]:
    """A seed that is searched: the best of several seeds is luck, and hides that the comparison knows only one."""
    for each in checked:
        if SEED in each.draft.space:
            what = (
                "a search over seeds finds the luckiest one. Give one seed; finalists: {seeds: 3} trains each cell's "
                "best config again with others, and {compare: [0, 1]} makes each seed a cell of its own"
            )
            yield each.draft.problem(SEED, what)
