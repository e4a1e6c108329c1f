"""Which trial is next: what waits to be run, then the cells in turn, each where it has room."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Mapping

from sweeps.cluster.packing import Size
from sweeps.planning.plan import Cell
from sweeps.search.admission import Admission
from sweeps.search.study import CellStudy
from sweeps.search.trial_sizes import Sizes, TooLarge
from trainables.trial.config import TrialConfig

PASSES = 8  # how many trials may be started past one that has no room yet, before all others wait for it
LEAD = 2  # by how many trials a cell may be ahead, so that a slot of its size serves on


class Line:
    """The trials of a sweep's cells, but for those of the cells that are ``held`` back.

    A cell's share never depends on how well it does: the next trial is the one of the cell with the fewest. ``sizes``
    says what each trial takes and what isn't started at all, ``admission`` what has room now; without them everything
    has. ``note`` is told of a trial that waits, ``refuse`` of one that would take too much.
    """

    def __init__(
        self,
        studies: Mapping[str, CellStudy],
        held: Container[str],
        note: Callable[[TrialConfig], None],
        refuse: Callable[[CellStudy, TrialConfig, TooLarge], None],
    ) -> None:
        self.studies, self.held, self.note, self.refuse = studies, held, note, refuse
        self.sizes: Sizes | None = None
        self.admission: Admission | None = None
        self.waiting: list[TrialConfig] = []  # to be run before anything new is proposed
        self._smallest: dict[str, Size] = {}  # by cell
        # By trial or cell that has no room yet: how often others went first.
        self._passed: Counter[str] = Counter()

    @property
    def full(self) -> bool:
        """Whether as many trials run as may."""
        return self.admission is not None and self.admission.full

    def free(self) -> list[CellStudy]:
        """The cells that aren't held back."""
        return [study for name, study in self.studies.items() if name not in self.held]

    def any(self) -> bool:
        """Whether there is something to run, with room or without."""
        return bool(self.waiting) or any(study.more() for study in self.free())

    def lacking(self) -> list[tuple[str, Size]]:
        """What has no room just now, first in line first: a trial's id or a cell, and what it takes."""
        if self.full:
            return []
        trials = [(config.trial_id(), self._size(config)) for config in self.waiting]
        cells = [(study.cell.name, self._least(study.cell)) for study in self._in_turn() if study.more()]
        return [(name, size) for name, size in (*trials, *cells) if size is not None]

    def next(self) -> tuple[TrialConfig, Size | None] | None:
        """The next trial that has room, with what it takes. What waits for room lets a few others pass, then none."""
        if self.full:
            return None
        passed: list[str] = []
        for config in list(self.waiting):
            size = self._size(config)
            if self._has_room(size):
                self.waiting.remove(config)
                return self._going(config, size, passed)
            if self._must_not_pass(config.trial_id(), passed):
                return None
        for study in self._in_turn():
            if not study.more():
                continue
            if not self._has_room(self._least(study.cell)):
                if self._must_not_pass(study.cell.name, passed):
                    return None
                continue
            proposed = self._proposed(study)
            if proposed is None:
                continue
            size = self._size(proposed)
            if self._has_room(size):
                return self._going(proposed, size, passed)
            self.note(proposed)
            self.waiting.append(proposed)
            passed.append(proposed.trial_id())
        return None

    def _must_not_pass(self, name: str, passed: list[str]) -> bool:
        """Notes that ``name`` has no room; whether it has been passed so often that nobody may any more."""
        passed.append(name)
        return self._passed[name] >= PASSES

    def _going(
        self, config: TrialConfig, size: Size | None, passed: list[str]
    ) -> tuple[TrialConfig, Size | None]:
        self._passed.update(passed)
        for name in (config.trial_id(), config.cell):
            self._passed.pop(name, None)
        return config, size

    def _in_turn(self) -> list[CellStudy]:
        """The cell with the fewest trials first, or of those with few the one that has a slot ready."""
        last = self.admission.last if self.admission is not None else None

        def turn(study: CellStudy) -> tuple[int, bool, int]:
            other = last is not None and self._least(study.cell) != last
            return study.count // LEAD, other, study.count

        return sorted(self.free(), key=turn)

    def _size(self, config: TrialConfig) -> Size | None:
        if self.sizes is None:
            return None
        if config.cell in self.studies:
            return self.sizes.of(self.studies[config.cell].cell, config)
        alike = [study.cell for study in self.studies.values() if study.cell.stage == config.stage.kind]
        cells = alike or [study.cell for study in self.studies.values()]
        least = [size for cell in cells if (size := self._least(cell)) is not None]
        return min(least, key=lambda size: (size.workers, size.gpus, size.memory))

    def _least(self, cell: Cell) -> Size | None:
        """What the smallest trial of a cell takes."""
        if self.sizes is None:
            return None
        if cell.name not in self._smallest:
            self._smallest[cell.name] = self.sizes.least(cell)
        return self._smallest[cell.name]

    def _has_room(self, size: Size | None) -> bool:
        return self.admission is None or size is None or self.admission.fits(size)

    def _proposed(self, study: CellStudy) -> TrialConfig | None:
        """A cell's next trial that isn't foretold to take too much memory."""
        while (config := study.ask()) is not None:
            over = self.sizes.refuses(study.cell, config) if self.sizes is not None else None
            if over is None:
                return config
            self.refuse(study, config, over)
        return None
