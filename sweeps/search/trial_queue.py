"""Which trial starts next, where there is capacity: waiting trials (those that were added by hand first), new ones of
each cell in turn, then those that go on after a comparison, and finalists.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from sweeps.cluster.packing import Size
from sweeps.planning.plan import Cell
from sweeps.planning.resources.sizes import Sizes
from sweeps.search.admission import Admission
from sweeps.search.remaining_work import RemainingWork
from sweeps.search.study import CellStudy
from trainables.trial.config import TrialConfig

# How many trials may start before one that has no capacity yet; after these, all others wait for it.
MAX_OVERTAKES = 8
# By how many trials a cell may be ahead of the others, so that an idle slot of the right size is used again, and with
# it the base model that it holds.
MAX_LEAD = 2
NOTHING_PREDICTED: Mapping[str, float] = {}


@dataclass(frozen=True)
class NextTrial:
    """A trial that can start now, and the resources it needs."""

    config: TrialConfig
    size: Size


class OvertakeCounter:
    """How often others started before a trial or a cell for which there was no capacity.

    Small trials may overtake a large one so that the machines stay busy, but not forever: a name that has been
    overtaken ``limit`` times holds up all that come after it.
    """

    def __init__(self, limit: int = MAX_OVERTAKES) -> None:
        self.limit = limit
        self._overtaken: Counter[str] = Counter()

    def may_be_overtaken(self, name: str) -> bool:
        return self._overtaken[name] < self.limit

    def started(self, config: TrialConfig, overtaken: Iterable[str]) -> None:
        """Counts the names that ``config`` overtakes; its own trial and cell begin anew."""
        self._overtaken.update(overtaken)
        for name in (config.trial_id(), config.cell):
            self._overtaken.pop(name, None)


class TrialQueue:
    """The trials of a sweep's cells, except those of the cells that are held back.

    A cell's share never depends on how well it does: the next trial is one of the cell with the fewest trials.
    ``sizes`` gives what each trial needs and which ones are not started at all, ``admission`` what there is capacity
    for now, ``seconds`` how long a whole trial of each cell is predicted to take, where that is known.
    """

    def __init__(
        self,
        work: RemainingWork,
        sizes: Sizes,
        admission: Admission,
        seconds: Mapping[str, float] = NOTHING_PREDICTED,
    ) -> None:
        self.work, self.sizes, self.admission, self.seconds = work, sizes, admission, seconds
        self._smallest: dict[str, Size] = {}  # by cell
        self._first_bases: dict[str, str] = {}  # by cell: the form of its first trial's base
        self._left_bases: dict[str, str | None] = {}  # by trial: what its slot holds after it
        self._overtakes = OvertakeCounter()

    def any(self) -> bool:
        """Whether there is a trial to run, whether or not there is capacity for it."""
        return bool(self.work.waiting or self.work.later) or any(
            study.has_more() for study in self.work.released_studies()
        )

    def without_capacity(self) -> list[tuple[str, Size]]:
        """What would have to wait now, in the order of the queue: a trial's id or a cell, and what it needs."""
        if self.admission.full:
            return []
        waiting, later = (
            [(config.trial_id(), self._size(config)) for config in trials]
            for trials in (self.work.waiting, self._longest_first())
        )
        cells = [
            (study.cell.name, self._smallest_size(study.cell))
            for study in self._in_turn()
            if study.has_more()
        ]
        return [*waiting, *cells, *later]

    def holds_up(self, name: str) -> bool:
        """Whether a trial or cell without capacity has been overtaken so often that all others wait for it."""
        return not self._overtakes.may_be_overtaken(name)

    def next(self) -> NextTrial | None:
        """The next trial that can start now.

        ``None`` when none can, or when those that can must let one go first for which there is no capacity yet.
        """
        if self.admission.full:
            return None
        overtaken: list[str] = []
        # Lazily: asking a study for a proposal changes it, so not before the candidates ahead of it were tried.
        following = chain(
            self._next_of(self.work.waiting, self.work.waiting),
            self._next_proposed(),
            self._next_of(self.work.later, self._longest_first()),
        )
        for candidate in following:
            if isinstance(candidate, NextTrial):
                config = candidate.config
                self._overtakes.started(config, overtaken)
                self._left_bases[config.trial_id()] = config.base_form() if config.keeps_base else None
                return candidate
            if not self._overtakes.may_be_overtaken(candidate):
                return None
            overtaken.append(candidate)
        return None

    def _longest_first(self) -> list[TrialConfig]:
        """Trials that run when nothing new can be proposed, the one first on which most has to follow: so the end of
        the sweep is not one long trial on an idle machine.
        """

        def seconds_to_follow(config: TrialConfig) -> float:
            whole = self.seconds.get(config.cell, 0.0)
            study = self.work.study_of(config)
            if study is None:
                return whole
            left = 1 - self.work.paused.passed.get(config.trial_id(), 0) / study.cell.steps
            # A cell's finalists can train side by side, but not before its search has ended.
            return whole * (left + (config.cell in self.work.without_finalists))

        return sorted(self.work.later, key=seconds_to_follow, reverse=True)

    def _next_of(self, queue: list[TrialConfig], trials: Sequence[TrialConfig]) -> Iterator[NextTrial | str]:
        """For each of ``trials`` in ``queue``: the trial itself if it can start now, else its id."""
        for config in list(trials):
            if config.role == "added" and self._refused(config):
                queue.remove(config)
                continue
            size = self._size(config)
            if self.admission.fits(size):
                queue.remove(config)
                yield NextTrial(config, size)
            else:
                yield config.trial_id()

    def _next_proposed(self) -> Iterator[NextTrial | str]:
        """For each cell in turn: its next trial if that can start now, else the cell's name or the trial's id.

        A cell is asked for a proposal only if its smallest trial could start: one that had to wait would not have
        learned from the trials that end meanwhile.
        """
        for study in self._in_turn():
            if not study.has_more():
                continue
            if not self.admission.fits(self._smallest_size(study.cell)):
                yield study.cell.name
                continue
            config = self._propose(study)
            if config is None:
                continue
            size = self._size(config)
            if self.admission.fits(size):
                yield NextTrial(config, size)
            else:
                # The study has recorded the proposal and won't make it again, so it is kept for later.
                self.work.write_config(config)
                self.work.waiting.append(config)
                yield config.trial_id()

    def _in_turn(self) -> list[CellStudy]:
        """The cell with the fewest trials first; among nearly equal ones, a cell whose trials fit an idle slot, and of
        those one that trains on the base model which that slot holds.
        """
        last_size, held = self.admission.last_size, self._held_base()

        def turn(study: CellStudy) -> tuple[int, bool, bool, int]:
            needs_new_slot = last_size is not None and self._smallest_size(study.cell) != last_size
            needs_new_base = held is not None and self._first_base(study.cell) != held
            # Counts in steps of MAX_LEAD: an idle slot decides only among cells that are nearly level.
            return study.count // MAX_LEAD, needs_new_slot, needs_new_base, study.count

        return sorted(self.work.released_studies(), key=turn)

    def _held_base(self) -> str | None:
        """The form of the base model that an idle slot holds; ``None`` where that may not decide what comes next.

        A cell that has two trials at a time proposes the second without the first one's result. Cells in turn have
        fewer of these; so the order stays where results matter, but for a single slot, which has none.
        """
        studies = self.work.released_studies()
        searches = [(study.cell.search, study.cell.rungs) for study in studies]
        regardless = all(
            search.steers_from is None and (search.breadth_first or not rungs) for search, rungs in searches
        )
        if self.admission.last_trial is None or not (regardless or self.admission.limit == 1):
            return None
        return self._left_bases.get(self.admission.last_trial)

    def _first_base(self, cell: Cell) -> str:
        if cell.name not in self._first_bases:
            self._first_bases[cell.name] = cell.first().base_form()
        return self._first_bases[cell.name]

    def _size(self, config: TrialConfig) -> Size:
        studies = self.work.studies
        if config.cell in studies:
            return self.sizes.for_trial(studies[config.cell].cell, config)
        # A base model belongs to no cell: it needs no more than the smallest cell of its stage.
        cells = [study.cell for study in studies.values()]
        # By kind: a cell's stage has the name that the spec gives it.
        cells = [cell for cell in cells if cell.tree["stage"]["kind"] == config.stage.kind] or cells
        sizes = [self._smallest_size(cell) for cell in cells]
        return min(sizes, key=lambda size: (size.workers, size.gpus, size.memory))

    def _smallest_size(self, cell: Cell) -> Size:
        """What the smallest trial of a cell needs."""
        if cell.name not in self._smallest:
            self._smallest[cell.name] = self.sizes.smallest(cell)
        return self._smallest[cell.name]

    def _refused(self, config: TrialConfig) -> bool:
        """Gives a trial that is predicted to need too much memory its record; returns whether it is."""
        excess = self.sizes.excess(self.work.studies[config.cell].cell, config)
        if excess is not None:
            self.work.record_refused(config, excess)
        return excess is not None

    def _propose(self, study: CellStudy) -> TrialConfig | None:
        """A cell's next trial that isn't predicted to need too much memory; those that are get their record at once."""
        # A refused trial counts against the budget like one that ran out of memory, so this loop ends.
        while (config := study.ask()) is not None:
            excess = self.sizes.excess(study.cell, config)
            if excess is None:
                return config
            self.work.record_refused(config, excess)
        return None
