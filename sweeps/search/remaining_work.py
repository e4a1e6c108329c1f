"""The trials of a sweep that remain to be run, by its run folder (records, journals, curves) and not by Ray's state."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sweeps.planning.plan import Plan
from sweeps.planning.resources.sizes import TooLarge
from sweeps.search.by_hand import RequestedChanges, stopped_by_hand
from sweeps.search.finalists import finalists
from sweeps.search.paused_trials import PausedTrials
from sweeps.search.predecessors import NothingToStartFrom, Pipeline, Waiting
from sweeps.search.study import CellStudy, share_dimensions, tell_study
from trainables import results
from trainables.results import Record, Status
from trainables.storage import files
from trainables.system import provenance
from trainables.trial.config import TrialConfig


class RemainingWork:
    """A study for every cell, the trials that were left unfinished, and the cells that wait for other cells.

    ``waiting`` holds trials that run before anything new is proposed: those that were added by hand, the unfinished
    ones, then the base models. A cell
    that continues from another is held back until that one has ended; cells that depend on nothing run on meanwhile.
    ``later`` holds trials that run when nothing new can be proposed: those that go on after a rung and, when a cell's
    search has ended, its finalists. ``paused`` are those that wait for a comparison, ``without_finalists`` the cells
    whose search has not ended.
    """

    def __init__(self, plan: Plan, run: Path) -> None:
        self.run = run
        self.studies = {cell.name: CellStudy(run, cell) for cell in plan.cells}
        share_dimensions(self.studies.values())
        self.waiting: list[TrialConfig] = []
        self.later: list[TrialConfig] = []
        self.paused = PausedTrials(run)
        self.by_hand = RequestedChanges(run, {cell.name: cell for cell in plan.cells})
        # Cells of which a trial has paused or ended since the last comparison.
        self._to_compare = set(self.studies)
        self._pipeline = Pipeline(run)
        self._held_cells = {name: study for name, study in self.studies.items() if study.cell.depends_on}
        self._held_bases = list(plan.bases)
        self._finalists = plan.spec.finalists
        self.without_finalists = dict(self.studies) if plan.spec.finalists.per_cell else {}
        # Before `release`, which has to know which of these cells have ended already.
        for study in self.released_studies():
            self._resume(study)
        # Before anything goes on: a trial that was stopped while no driver lived doesn't.
        self.take_requests()
        self.release()

    def released_studies(self) -> list[CellStudy]:
        """The studies of the cells that aren't held back."""
        return [study for name, study in self.studies.items() if name not in self._held_cells]

    def study_of(self, config: TrialConfig) -> CellStudy | None:
        """The study that proposed a trial; ``None`` for base models, finalists and what was
        added by hand, which no study knows.
        """
        return self.studies.get(config.cell) if config.role == "search" else None

    def any_held(self) -> bool:
        """Whether a cell, a base model, a paused trial or a cell's finalists are held back."""
        held = self._held_cells or self._held_bases or self.without_finalists
        return bool(held or self.paused)

    def held(self) -> Iterator[tuple[str, str]]:
        """What is held back and for what, as (name, words): ``("dpo-lora", "the end of sft-lora, ...")``."""
        ended = self._pipeline.ended
        for name, study in self._held_cells.items():
            before = " and ".join(cell for cell in study.cell.depends_on if cell not in ended)
            yield name, f"the end of {before}, as it continues from the best trial"
        for base in self._held_bases:
            scored = " and ".join(source.label for _, _, source in base.trained())
            yield base.cell, f"{scored}, which it scores"
        for cell, count in Counter(config.cell for config in self.paused).items():
            yield f"the comparison of {cell}", f"trials that have not come as far; {count} have"
        for name in self.without_finalists:
            if name not in self._held_cells:
                yield f"the next finalist of {name}", "the end of its search"

    def any_remaining(self) -> bool:
        """Whether a trial remains to be run, or a study doesn't know yet how one of its trials ended."""
        unfinished = any(not study.ended() for study in self.studies.values())
        return bool(self.waiting or self.later) or self.any_held() or unfinished

    def release(self) -> bool:
        """Releases cells, base models, paused trials and finalists that wait no longer; returns whether any did."""
        released = False
        # Repeated, because a cell that has nothing to start from ends at once, and others may depend on it. The check
        # reads every study, so it is skipped when nothing is held back.
        while (self.any_held() or self._to_compare) and self._release_once():
            released = True
        return released

    def _release_once(self) -> bool:
        promoted = [name for name in sorted(self._to_compare) if self._compare(name)]
        self._pipeline.ended |= {study.cell.name for study in self.released_studies() if study.ended()}
        # Over copies, because releasing a cell or a base removes it from the collection.
        cells = [name for name in list(self._held_cells) if self._release_cell(name)]
        bases = [base for base in list(self._held_bases) if self._release_base(base)]
        with_finalists = [name for name in list(self.without_finalists) if self._release_finalists(name)]
        return bool(promoted or cells or bases or with_finalists)

    def pause(self, config: TrialConfig) -> bool:
        """Takes a trial that has ended without a result if it has paused; returns whether it has."""
        study = self.study_of(config)
        return study is not None and self.paused.take(study, config)

    def take_requests(self) -> None:
        """Queues the trials that were added by hand since the last call, and ends those that were stopped and don't
        run.
        """
        self.by_hand.read_stops()
        new = list(self.by_hand.new_trials())
        for config in new:
            self.write_config(config)
        self.waiting[:0] = new
        for config in [*self.waiting, *self.later, *self.paused] if self.by_hand.stops else ():
            self.stop_if_requested(config)

    def stop_if_requested(self, config: TrialConfig) -> bool:
        """Ends a trial that doesn't run, and that a person has stopped; returns whether one has."""
        # Untrained models have no steps, and all cells are compared with them.
        if config.role == "base" or config.trial_id() not in self.by_hand.stops:
            return False
        for queue in (self.waiting, self.later):
            queue[:] = [other for other in queue if other != config]
        self.paused.drop(config)
        self.write_config(config)
        record = stopped_by_hand(self.folder(config.trial_id()), config)
        if (study := self.study_of(config)) is not None:
            tell_study(study, record)
        self.note_change(config.cell)
        return True

    def note_change(self, cell: str) -> None:
        """Notes that a trial of a cell has paused or ended, so that others may be compared with it."""
        if cell in self.studies:  # and no untrained model
            self._to_compare.add(cell)

    def _compare(self, name: str) -> bool:
        """Lets the best of a cell's paused trials go on, and stops those that are behind; returns whether any was."""
        study = self.studies[name]
        if name in self._held_cells or not study.cell.search.breadth_first:
            self._to_compare.discard(name)
            return False
        if study.has_more():
            return False
        self._to_compare.discard(name)
        promoted, behind = self.paused.decide(study)
        self.later += promoted
        for config in behind:
            tell_study(study, self.paused.stop(study, config))
        return bool(promoted or behind)

    def _release_finalists(self, name: str) -> bool:
        """Lets a cell's finalists run, if its search has ended; returns whether it has."""
        if name in self._held_cells or not self.studies[name].ended():
            return False
        configs = finalists(self.studies[name], self._finalists, self.run)
        self.later += [config for config in configs if not results.has_ended(self.folder(config.trial_id()))]
        del self.without_finalists[name]
        return True

    def _release_cell(self, name: str) -> bool:
        """Lets a cell run, or fail, if the trial that it continues from is known; returns whether it is."""
        study = self._held_cells[name]
        try:
            study.start_from(self._pipeline.filled(study.cell.tree))
        except Waiting:
            return False
        except NothingToStartFrom as error:
            # With a record the cell is a row of the report; without a budget its study counts as ended.
            self.record_failed(study.cell.first(), str(error))
            study.cancel()
        else:
            self._resume(study)
            self._to_compare.add(name)
        del self._held_cells[name]
        return True

    def _release_base(self, base: TrialConfig) -> bool:
        try:
            config = TrialConfig.model_validate(self._pipeline.filled(base.model_dump(mode="json")))
        except Waiting:
            return False
        except NothingToStartFrom as error:
            self.record_failed(base, str(error))
        else:
            self.waiting += [] if results.has_ended(self.folder(config.trial_id())) else [config]
        self._held_bases.remove(base)
        return True

    def _resume(self, study: CellStudy) -> None:
        """Queues a study's unfinished trials, after telling it the results that a driver which died could not."""
        for config in study.unfinished():
            folder = self.folder(config.trial_id())
            record = results.read_record(folder)
            ended = record is not None and record.status != "interrupted"
            if ended or study.cell.search.breadth_first:
                # Only the rungs, as in a live sweep: validations between them aren't reported to the driver.
                for step, value in results.rung_values(folder, study.cell.comparisons).items():
                    study.report(config.trial_id(), step, value)
            if record is not None and ended:
                tell_study(study, record)
        # Asked again: the trials that were told above are no longer among them.
        unfinished = study.unfinished()
        # Trials that the study knows the end of and the run folder doesn't: their records were damaged.
        unfinished += study.finished_without(lambda trial_id: results.has_ended(self.folder(trial_id)))
        self.waiting += [config for config in unfinished if not self.paused.take(study, config)]

    def folder(self, trial_id: str) -> Path:
        return self.run / "trials" / trial_id

    def write_config(self, config: TrialConfig) -> None:
        """Writes a trial's ``config.json``: the run folder has it before the trial starts, waits, or is refused."""
        files.write_json(self.folder(config.trial_id()) / "config.json", config.model_dump(mode="json"))

    def record_refused(self, config: TrialConfig, excess: TooLarge) -> None:
        """Gives a trial that is predicted not to fit in memory its record; it is not started."""
        facts = {"predicted_peak_bytes": excess.needed, "room_bytes": excess.bytes}
        record = self._record_not_run(
            config, "out_of_memory", str(excess), out_of_memory_in="predicted", **facts
        )
        if (study := self.study_of(config)) is not None:
            tell_study(study, record)

    def record_failed(self, config: TrialConfig, reason: str) -> Record:
        """Gives a trial that can't be run its record."""
        return self._record_not_run(config, "failed", reason)

    def _record_not_run(self, config: TrialConfig, status: Status, reason: str, **facts: Any) -> Record:
        """Writes the record of a trial that never ran, so that it is a row of the report and not a gap."""
        now = provenance.now()
        record = Record(**config.identity(), status=status, error=reason, ended_at=now, **facts)
        # The config comes first: whoever reads a trial folder expects one in it, with or without a record.
        self.write_config(config)
        results.write_record(self.folder(config.trial_id()), record)
        return record
