"""The searcher that one Tuner runs a whole sweep with: a study for every cell, and what waits for what.

It knows trials by the id of their config. What is true is in the run folder (records, journals, curves); Ray
Tune's own state is not needed to go on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ray.tune import Callback
from ray.tune.search import Searcher

from sweeps.cluster.packing import Size
from sweeps.planning.plan import Plan
from sweeps.runs.mirror import Mirror
from sweeps.search.predecessors import NothingToStartFrom, Pipeline, Waiting
from sweeps.search.study import CellStudy
from sweeps.search.trial_queue import Line
from sweeps.search.trial_sizes import TooLarge
from trainables import results
from trainables.results import Record, Status
from trainables.storage import files
from trainables.system import provenance
from trainables.trial.config import TrialConfig


class CellSearch(Searcher):
    """Proposes trials: first those left unfinished, then the base models, then the cells in turn.

    A cell that goes on from another begins when that one has ended, while cells that wait for nothing run on. ``line``
    says which of what may run is next.
    """

    def __init__(self, plan: Plan, run: Path) -> None:
        super().__init__(metric="objective", mode="max")
        self.run = run
        self.pipeline = Pipeline(run)
        self.studies = {cell.name: CellStudy(run, cell) for cell in plan.cells}
        self.leaving = False  # once set, nothing new is proposed
        self.mirror: Mirror | None = None  # of a run that is at a URL
        self.idle: Callable[[], None] = lambda: None  # called when nothing can be proposed just now
        self._trials: dict[str, str] = {}  # Tune's trial id -> ours
        self._configs: dict[str, TrialConfig] = {}
        self._lost: set[str] = set()  # whose results could not be written once
        # Those whose start is known may run; the others are held back until it is.
        self._held = {name: study for name, study in self.studies.items() if study.cell.needs}
        self._held_bases = list(plan.bases)
        self.line = Line(self.studies, self._held, self._note, self._refuse)
        for study in self.studies.values():
            if study.cell.name not in self._held:
                self._take_up(study)
        self._release()

    def _take_up(self, study: CellStudy) -> None:
        """Tells a study what the records say and a driver that died could not; what is unfinished will be run."""
        for config in study.unfinished():
            folder = self._folder(config.trial_id())
            record = results.read_record(folder)
            if record is not None and record.status != "interrupted":
                # As a living driver is told: what is between the rungs isn't reported.
                for step, objective in results.objectives(folder):
                    if step in study.cell.rungs:
                        study.report(record.trial_id, step, objective)
                _tell(study, record)
        self.line.waiting += study.unfinished()
        # What the study was told of and nobody knows any more: a record that was damaged.
        self.line.waiting += study.told_but_not(lambda trial_id: results.has_ended(self._folder(trial_id)))

    def _release(self) -> bool:
        """Lets run what no longer waits for another cell; whether there was any such."""
        found = False
        # A cell that has nothing to go on from ends at once, and others may wait for it.
        while self._waits() and self._released():
            found = True
        return found

    def _waits(self) -> bool:
        """Whether anything is held back. Looking whether it may go reads every study: not where nothing is."""
        return bool(self._held or self._held_bases)

    def _released(self) -> bool:
        self.pipeline.ended |= {study.cell.name for study in self.line.free() if study.ended()}
        cells = [name for name in list(self._held) if self._let_go(name)]
        bases = [base for base in list(self._held_bases) if self._let_go_base(base)]
        return bool(cells or bases)

    def _let_go(self, name: str) -> bool:
        """Lets a cell run, or has it fail, once what it goes on from is known; whether it is."""
        study = self._held[name]
        try:
            study.cell = replace(study.cell, tree=self.pipeline.filled(study.cell.tree))
        except Waiting:
            return False
        except NothingToStartFrom as error:
            self._fail(study.cell.first(), str(error))
            study.cell = replace(study.cell, trials=0)
        else:
            self._take_up(study)
        del self._held[name]
        return True

    def _let_go_base(self, base: TrialConfig) -> bool:
        try:
            config = TrialConfig.model_validate(self.pipeline.filled(base.model_dump(mode="json")))
        except Waiting:
            return False
        except NothingToStartFrom as error:
            self._fail(base, str(error))
        else:
            self.line.waiting += [] if results.has_ended(self._folder(config.trial_id())) else [config]
        self._held_bases.remove(base)
        return True

    def work_left(self) -> bool:
        """Whether there is anything to run."""
        unspent = any(not study.ended() for study in self.studies.values())
        return bool(self.line.waiting) or self._waits() or unspent

    def _folder(self, trial_id: str) -> Path:
        return self.run / "trials" / trial_id

    def suggest(self, trial_id: str) -> Any:
        found = None if self.leaving else self._next()
        if found is None:
            # `None` has Tune ask again later: what is held back, or has no room, waits for trials that are running.
            self.idle()
            return None if self.waits() and not self.leaving else Searcher.FINISHED
        config, size = found
        ours = config.trial_id()
        self._note(config)
        self._trials[trial_id], self._configs[ours] = ours, config
        if self.mirror is not None and not self.mirror.begin(ours):
            return Searcher.FINISHED
        proposed = {"trial_id": ours, "cell": config.cell}
        if size is None or self.line.admission is None:
            return proposed
        self.line.admission.begin(ours, size)
        return proposed | {"size": asdict(size)}

    def waits(self) -> bool:
        """Whether something is to be run that can't be proposed just now."""
        return self._waits() or self.line.any()

    def _next(self) -> tuple[TrialConfig, Size | None] | None:
        """The next trial that has room, with what it takes."""
        found = self.line.next()
        while found is None and not self.line.full and self._release():
            found = self.line.next()
        return found

    def _refuse(self, study: CellStudy, config: TrialConfig, over: TooLarge) -> None:
        """A trial that is foretold to take too much memory is a row all the same, and not started."""
        facts = {"predicted_peak_bytes": over.needed, "room_bytes": over.bytes}
        _tell(study, self._unrun(config, "out_of_memory", str(over), out_of_memory_in="foretold", **facts))

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        ours = self._trials[trial_id]
        study = self.studies.get(self._configs[ours].cell)
        if study is not None and not result.get("done") and result.get("objective") is not None:
            study.report(ours, result["step"], result["objective"])

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        ours = self._trials[trial_id]
        if self.line.admission is not None:
            self.line.admission.end(ours)
        if self.mirror is not None and not self._brought(ours, (result or {}).get("lost")):
            return
        record = results.read_record(self._folder(ours))
        if record is None and error:
            died = "its slot died again and again while running it; sweep.log says how"
            record = self._fail(self._configs[ours], died)
        study = self.studies.get(self._configs[ours].cell)
        if study is not None and record is not None and record.status != "interrupted":
            _tell(study, record)
        self._release()

    def _brought(self, ours: str, lost: str | None) -> bool:
        """Whether what a trial left is here now. One whose results got lost on the way is run once more."""
        assert self.mirror is not None
        if lost is not None and not self.leaving and ours not in self._lost:
            self._lost.add(ours)
            self.line.waiting.append(self._configs[ours])
            return False
        return self.mirror.end(ours, lost)

    def _fail(self, config: TrialConfig, why: str) -> Record:
        return self._unrun(config, "failed", why)

    def _unrun(self, config: TrialConfig, status: Status, why: str, **facts: Any) -> Record:
        """The record of a trial that could not be run at all, so that it is a row and not a gap."""
        now = provenance.now()
        record = Record(**config.identity(), status=status, error=why, ended_at=now, **facts)
        self._note(config)
        results.write_record(self._folder(config.trial_id()), record)
        return record

    def _note(self, config: TrialConfig) -> None:
        """Has a trial be in the run folder before anything comes of it."""
        files.write_json(self._folder(config.trial_id()) / "config.json", config.model_dump(mode="json"))

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its searcher; ours has its state in the run folder

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the journals are the state."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore; see ``save``."""

    def save_to_dir(self, checkpoint_dir: str, session_str: str = "default") -> None:
        """Nothing: the journals are the state."""


def _tell(study: CellStudy, record: Record) -> None:
    over = None
    if record.predicted_peak_bytes and record.room_bytes:
        over = record.predicted_peak_bytes / record.room_bytes - 1
    study.tell(record.trial_id, record.status, record.objective, over)


class Ticks(Callback):
    """Calls ``tick`` at every turn of Tune's loop."""

    def __init__(self, tick: Callable[[], None]) -> None:
        self.tick = tick

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        self.tick()

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its callbacks; this one has nothing to keep
