"""The curves of all trials of a run, thin enough to be drawn at once."""

from __future__ import annotations

import threading
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from sweeps.ui.snapshots.curves import figure_curves
from trainables.storage.damaged_files import DamagedFile

if TYPE_CHECKING:
    from sweeps.ui.snapshots.reader import RunReader

FIRST = ("objective", "eval_loss", "train_loss")  # what a figure shows unless it is asked for another


def run_curves(reader: RunReader, lock: threading.Lock, name: str | None = None) -> dict[str, Any]:
    """``names``: of all curves; ``curves``: those of ``name``, each with its trial, cell, method and points.

    ``lock`` is held while curves are read, which the reader reads on, too.
    """
    with lock:
        trials = list(reader.trials.values())
        for trial in trials:
            with suppress(DamagedFile):  # the snapshot names it
                trial.curve.update()
        counts = Counter(each for trial in trials for each in trial.curve.points)
        names = sorted(counts, key=lambda each: (FIRST.index(each) if each in FIRST else len(FIRST), each))
        shown = name if name is not None and name in counts else next(iter(names), "")
        found: list[dict[str, Any]] = [
            {
                "trial": trial.folder.name,
                "cell": trial.cell,
                "role": trial.role,
                "points": dict(trial.curve.points[shown]),
            }
            for trial in trials
            if shown in trial.curve.points
        ]
    return {"names": names, "name": shown or None, "curves": figure_curves(found)}
