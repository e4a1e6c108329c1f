"""How often the winner of a recorded sweep survives its rungs, and what is lost where it doesn't.

    python -m tests.benchmarks.rungs [FOLDER]      # the tables in sweeps/README.md

The winner is the trial with the best objective on the validation rows at its last step. Survival and regret (how much
worse the best of the trials that are left is in the end) are means over 500 draws of eight of a sweep's trials.
"""

from __future__ import annotations

import math
import random
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import fmean

from sweeps.planning.rungs import kept
from sweeps.spec.settings import SearchConfig
from tests.benchmarks.recorded_sweeps import FOLDER, PARTS, STUDIES, RecordedTrial, recorded
from trainables.results import Comparison
from trainables.training.checkpoints import Progress
from trainables.training.loss_window import LossWindow

RUNGS, FACTORS, BY = (2, 4, 8, 12, 20), (2, 3, 4), ("training", "validation")
DRAWS, DRAWN, STEPS = 500, 8, 40
SHARES, LADDERS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6), ((0.1, 0.3), (0.2, 0.6), (0.3, 0.5))  # of a study's steps

Value = Callable[[RecordedTrial], float]


def compared_value(step: int, by: Comparison) -> Value:
    """What a trial is compared by at a rung; higher is better."""

    def by_training(trial: RecordedTrial) -> float:
        window, mean = LossWindow([step], Progress()), None
        for number, loss in enumerate(trial.losses[:step], start=1):
            mean = window.add(number, loss)
        assert mean is not None
        return -mean

    return by_training if by == "training" else lambda trial: trial.objectives[step]


def left_after(trials: Sequence[RecordedTrial], values: Sequence[Value], factor: int) -> list[RecordedTrial]:
    """The trials that train to the end where the best ``1 / factor`` go on at each rung."""
    left = list(trials)
    for value in values:
        left = sorted(left, key=value, reverse=True)[: math.ceil(len(left) / factor)]
    return left


def survival_and_regret(
    sweeps: Sequence[Sequence[RecordedTrial]], values: Sequence[Value], factor: int
) -> tuple[float, float]:
    """The share of draws in which the winner is left, and the mean of what is lost, in the objective's unit."""
    survived, lost = [], []
    for trials in draws(sweeps):
        best = max(trial.final for trial in trials)
        best_left = max(trial.final for trial in left_after(trials, values, factor))
        survived.append(best_left == best)
        lost.append(best - best_left)
    return fmean(survived), fmean(lost)


def draws(sweeps: Sequence[Sequence[RecordedTrial]]) -> Iterator[list[RecordedTrial]]:
    """Eight of the trials of each sweep in turn, the same in every call."""
    generator = random.Random(0)
    for number in range(DRAWS):
        trials = sweeps[number % len(sweeps)]
        yield generator.sample(list(trials), min(DRAWN, len(trials)))


def rows(folder: Path = FOLDER) -> Iterator[tuple[str, ...]]:
    """The table: for each rung, factor and measure, survival and regret in each recorded sweep; then whole ladders."""
    sweeps = {name: recorded(name, folder) for name in PARTS if (folder / f"{name}.json").exists()}
    yield (
        "compared at step (of 40)",
        "the best of eight kept",
        *[f"{n}, by {by}" for n in sweeps for by in BY],
    )
    for factor in FACTORS:
        for step in RUNGS:
            yield _row(f"{step}", [step], factor, sweeps)
        first = SearchConfig(trials=DRAWN, grace_steps=4, reduction_factor=factor).rungs(STEPS)
        yield _row(" and ".join(map(str, first)), first, factor, sweeps)


def _row(
    name: str, steps: Sequence[int], factor: int, sweeps: dict[str, list[list[RecordedTrial]]]
) -> tuple[str, ...]:
    cells = []
    for found in sweeps.values():
        for by in BY:
            values = [compared_value(step, by) for step in steps]
            survived, lost = survival_and_regret(found, values, factor)
            cells.append(f"{survived:.0%}, {lost:.4f}")
    return (name, str(kept(DRAWN, steps, factor)[-1]), *cells)


def study_rows(folder: Path = STUDIES) -> Iterator[tuple[str, ...]]:
    """The table of recorded studies: for each rung, as a share of the steps, survival and regret by training loss, and
    the share of all steps that eight trials then train.
    """
    sweeps = {path.stem: recorded(path.stem, folder) for path in sorted(folder.glob("*.json"))}
    yield ("compared after", "the best of eight kept", "steps trained", *sweeps)
    for factor in (2, 3, 4):
        for shares in (*((share,) for share in SHARES), *LADDERS):
            counts = kept(DRAWN, shares, factor)
            trained = [
                count * (end - begin)
                for count, begin, end in zip(counts, (0.0, *shares), (*shares, 1.0), strict=True)
            ]
            cells = []
            for found in sweeps.values():
                steps = len(found[0][0].losses)
                values = [compared_value(int(share * steps), "training") for share in shares]
                survived, lost = survival_and_regret(found, values, factor)
                cells.append(f"{survived:.0%}, {lost:.4f}")
            named = " and ".join(f"{share:.0%}" for share in shares)
            yield (named, " and ".join(map(str, counts[1:])), f"{sum(trained) / DRAWN:.0%}", *cells)


def main() -> None:
    tables = [rows(Path(sys.argv[1]))] if len(sys.argv) > 1 else [rows(), study_rows()]
    for table in tables:
        for number, row in enumerate(table):
            print(f"| {' | '.join(row)} |")
            if not number:
                print(f"|{'---|' * len(row)}")
        print()


if __name__ == "__main__":
    main()
