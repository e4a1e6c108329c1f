"""Tasks of a sweep's loop that say what its trials are doing, and what those wait for that could run."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeps.console.signs_of_life import Sign, last_loss
from sweeps.runs.layout import SIGNS
from sweeps.search.waiting import Wait, waits
from trainables.storage import files
from trainables.system.background import Throttle

if TYPE_CHECKING:
    from sweeps.console.sweep_progress import SweepProgress
    from sweeps.search.searcher import CellSearch
    from trainables.training.activity import Activity
    from trainables.trial.config import TrialConfig

FILE_SECONDS = 5.0  # between updates of the file that `status` reads
WAIT_SECONDS = 15.0  # that something waits for the same before it is said
AGAIN_SECONDS = 600.0  # until it is said again
SHOWN_WAITS = 3


class RunningTrials:
    """Shows what each running trial is doing, by what its worker tells the board, and keeps it in a file of the run.

    ``steps``: those of a trial's training, by cell. ``doing``: asks the board about trials.
    """

    def __init__(
        self,
        search: CellSearch,
        doing: Callable[[list[str]], dict[str, Activity | None]],
        steps: dict[str, int],
        progress: SweepProgress,
        run_folder: Path,
    ) -> None:
        self.search, self.doing, self.steps, self.progress = search, doing, steps, progress
        self.run_folder = run_folder
        self._begun: dict[str, tuple[int, float]] = {}  # by trial: the first step that was seen, and when
        self._file = Throttle(FILE_SECONDS)

    def __call__(self) -> None:
        running = self.search.running()
        # A trial that goes on after a pause begins anew.
        ids = {config.trial_id() for config in running}
        self._begun = {trial: begun for trial, begun in self._begun.items() if trial in ids}
        known = self.doing([config.trial_id() for config in running])
        signs = [self._sign(config, known) for config in running]
        self.progress.show_trials(signs)
        if self._file.due() and self.run_folder.is_dir():
            waiting = [str(wait) for wait in waits(self.search.queue)]
            files.write_json(
                self.run_folder / SIGNS,
                {"trials": {sign.trial_id: sign.words for sign in signs}, "waits": waiting},
            )

    def _sign(self, config: TrialConfig, known: dict[str, Activity | None]) -> Sign:
        trial_id = config.trial_id()
        size = self.search.queue.admission.running[trial_id]
        untrained = config.role == "base"
        if trial_id not in known:
            return Sign(config.cell, trial_id, "starting", needs=str(size), untrained=untrained)
        activity = known[trial_id]
        if activity is None:
            return Sign(config.cell, trial_id, "loading", untrained=untrained)
        first, since = self._begun.setdefault(trial_id, (activity.step, time.monotonic()))
        trained = activity.step - first
        return Sign(
            config.cell,
            trial_id,
            "scoring" if activity.phase == "finishing" else activity.phase,
            activity.step,
            # What was added by hand may have a length of its own.
            config.train.steps if config.role == "added" else self.steps.get(config.cell),
            last_loss(self.run_folder / "trials" / trial_id),
            (time.monotonic() - since) / trained if trained else None,
        )


class WaitingTrials:
    """Says what trials wait for while fewer than ``slots`` run, once that has lasted :data:`WAIT_SECONDS`."""

    def __init__(self, search: CellSearch, slots: int, log: Callable[[str], None]) -> None:
        self.search, self.slots, self.log = search, slots, log
        self._kinds: Sequence[Any] = ()
        self._since = time.monotonic()
        self._said: float | None = None

    def __call__(self) -> None:
        running = len(self.search.queue.admission.running)
        # Where nothing runs, the watch over the capacity says why, and ends the sweep in time.
        if self.search.shutdown.requested or not 0 < running < self.slots:
            self._kinds, self._said = (), None
            return
        found = list(islice(waits(self.search.queue), SHOWN_WAITS + 1))
        now, kinds = time.monotonic(), tuple(wait.kind for wait in found)
        if kinds != self._kinds:
            self._kinds, self._since, self._said = kinds, now, None
        if not found or now - self._since < WAIT_SECONDS:
            return
        if self._said is None or now - self._said >= AGAIN_SECONDS:
            self._said = now
            self.log(self._sentence(running, found))

    def _sentence(self, running: int, found: Sequence[Wait]) -> str:
        more = "; and others" if len(found) > SHOWN_WAITS else ""
        shown = "; ".join(map(str, found[:SHOWN_WAITS]))
        trials = "trial runs" if running == 1 else "trials run"
        return f"{running} {trials} where {self.slots} could: {shown}{more}"
