"""Which trials of a cell go on after a rung where the search runs in breadth: synchronous successive halving.

All trials of a cell train to a rung, then the best of them to the next (K. Jamieson and A. Talwalkar, "Non-stochastic
Best Arm Identification and Hyperparameter Optimization", 2016, arXiv:1502.07943). How many go on depends on the number
of trials alone, so that cells with the same number have the same budget.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sweeps.spec.settings import going_on

ROUNDING = 1e-6  # relative: some units in the last place of 32 bits


@dataclass(frozen=True)
class Standing:
    """How far a trial has come. ``values``: what it was compared by at each rung that it has reached. ``step``: its
    last one. ``ended``: whether it will not go on, whatever its values.
    """

    trial_id: str
    values: Mapping[int, float] = field(default_factory=dict)
    step: int = 0
    ended: bool = False

    def passed(self, rung: int) -> bool:
        """Whether it has gone on after that rung already."""
        return self.step > rung or any(other > rung for other in self.values)

    def reached(self, rung: int) -> bool:
        """Whether the others need not wait for it at that rung."""
        return self.ended or rung in self.values or self.passed(rung)


@dataclass(frozen=True)
class Verdicts:
    """``promoted``: trials that go on, each with the rung that it goes on from. ``behind``: trials that are stopped.
    ``compared``: the rungs at which all have been compared.
    """

    promoted: Mapping[str, int]
    behind: frozenset[str]
    compared: tuple[int, ...]


def verdicts(rungs: Sequence[int], factor: int, trials: Sequence[Standing], all_proposed: bool) -> Verdicts:
    """What follows for a cell's trials, in the order of their proposals, from where they stand.

    At each rung the best ``1 / factor`` of the trials that trained up to it, failed ones counted, go on, once all of
    them have been there. Where all values are equal to rounding, nothing has been compared, and all go on; of some
    that are equal, the earlier proposal does. The same trials give the same verdicts, whenever it is asked.
    """
    promoted: dict[str, int] = {}
    behind: set[str] = set()
    compared: list[int] = []
    playing, size = list(trials), len(trials)
    for rung in rungs:
        if not (all_proposed and size and all(trial.reached(rung) for trial in playing)):
            break
        compared.append(rung)
        values = [trial.values[rung] for trial in playing if rung in trial.values]
        if not _all_equal(values):
            size = going_on(size, factor)
        passed = [trial for trial in playing if trial.passed(rung)]
        here = [trial for trial in playing if not trial.passed(rung) and not trial.ended]
        # The order of equal values stays.
        here = sorted(here, key=lambda trial: -trial.values[rung])
        best = here[: max(0, size - len(passed))]
        behind |= {trial.trial_id for trial in here[len(best) :]}
        promoted |= {trial.trial_id: rung for trial in best}
        playing = [trial for trial in playing if trial in passed or trial in best]
    return Verdicts(promoted, frozenset(behind), tuple(compared))


def _all_equal(values: Sequence[float]) -> bool:
    """Whether several values are equal to rounding."""
    return len(values) > 1 and all(math.isclose(value, values[0], rel_tol=ROUNDING) for value in values)
