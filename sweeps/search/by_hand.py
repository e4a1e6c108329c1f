"""What people change in a search by hand: trials that are stopped, and trials that are added to a cell.

An added trial is no trial of the cell's study: it stands outside of its budget, and nothing is proposed because of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from sweeps.planning.cell import Cell
from sweeps.runs import trial_requests
from sweeps.runs.trial_requests import AddRequest
from sweeps.search.paused_trials import give_final_record
from trainables import results
from trainables.results import TRAINING_OBJECTIVE, Record
from trainables.storage.damaged_files import DamagedFile, reading
from trainables.trial.config import TrialConfig


class RequestedChanges:
    """The requests of a run folder, as far as they have been read. ``stops``: trials that are to end, and have not.
    ``damaged``: what is wrong with requests that are left out, in sentences.
    """

    def __init__(self, run: Path, cells: Mapping[str, Cell]) -> None:
        self.run, self.cells = run, cells
        self.stops: frozenset[str] = frozenset()
        self.damaged: list[str] = []
        self._ended: set[str] = set()  # trials that were to stop, and have ended in whatever way
        self._read: set[Path] = set()

    def read_stops(self) -> None:
        asked = {trial_id for trial_id in trial_requests.stops(self.run) if trial_id not in self._ended}
        self._ended |= {trial_id for trial_id in asked if results.has_ended(self._folder(trial_id))}
        self.stops = frozenset(asked - self._ended)

    def new_trials(self) -> Iterator[TrialConfig]:
        """Trials that were added since the last call and have not ended, the first one first."""
        found = []
        for path in trial_requests.addition_files(self.run):
            if path in self._read:
                continue
            self._read.add(path)
            try:
                request = trial_requests.read_addition(path)
                found.append((request.requested_at, self._of_its_cell(request)))
            except DamagedFile as error:
                self.damaged.append(str(error))
        for _, config in sorted(found, key=lambda each: each[0]):
            if not results.has_ended(self._folder(config.trial_id())):
                yield config

    def _of_its_cell(self, request: AddRequest) -> TrialConfig:
        """The config of a request, with its cell's model and data. Raises ``DamagedFile`` where it is of no cell.

        A run folder may be somebody else's: nothing is trained that the spec doesn't name, nor run that it doesn't
        trust.
        """
        config = request.trial_config()
        cell = self.cells.get(request.cell)
        with reading(request.name):
            found = joined(config, cell) if cell is not None else None
            if found is None:
                raise ValueError(f"it is no trial of {request.cell}: another model, data set or method")
            return found

    def _folder(self, trial_id: str) -> Path:
        return self.run / "trials" / trial_id


def joined(config: TrialConfig, cell: Cell) -> TrialConfig | None:
    """A trial that was added to a cell, with the cell's model and data, where they are now; ``None`` for others."""
    own = _config_of_cell(cell, config)
    if own is None:
        return None
    # The cell may not know yet which trial it starts from.
    model = own.model.model_copy(update={"start": config.model.start})
    made = config.model_copy(update={"model": model, "data": own.data})
    methods = [
        (
            each.method_name,
            each.stage.kind,
            *(getattr(each.method, key, None) for key in ("kind", "method_sha256")),
        )
        for each in (own, config)
    ]
    return made if methods[0] == methods[1] and made.trial_id() == config.trial_id() else None


def _config_of_cell(cell: Cell, config: TrialConfig) -> TrialConfig | None:
    """The cell's config with the trial's values of what is searched, or with searched ones: the trial may have another
    setting in their place, as ``train.epochs`` in that of ``train.steps``.
    """
    settings = config.model_dump(mode="json")
    with suppress(ValidationError, LookupError, TypeError):
        return cell.config({leaf: _value(settings, leaf) for leaf in cell.space})
    with suppress(ValidationError):
        return cell.config({leaf: domain.probes()[0] for leaf, domain in cell.space.items()})
    return None


def _value(settings: Any, leaf: str) -> Any:
    for key in leaf.split("."):
        settings = settings[key]
    return settings


def stopped_by_hand(folder: Path, config: TrialConfig) -> Record:
    """Gives a trial that doesn't run now, and may never have, the record of one that was stopped by hand."""
    points = list(results.read_curve(folder))
    begun = results.read_record(folder)
    last = max((point["step"] for point in points), default=0)
    step = max(last, (begun.steps or 0) if begun is not None else 0)
    # Of two objectives at one step the one on the validation rows counts, as while a trial trains.
    names = {TRAINING_OBJECTIVE: "training", "objective": "validation"}
    compared = [point for point in points if point["name"] in names]
    newest = max(
        compared, key=lambda point: (point["step"], names[point["name"]] == "validation"), default=None
    )
    at_last = {"objective": newest["value"], "compared_by": names[newest["name"]]} if newest else {}
    reason = f"stopped by hand at step {step}" if step else "stopped by hand before it began"
    return give_final_record(
        folder,
        config,
        status="stopped",
        steps=step,
        stop_reason=reason,
        stopped_by_hand=True,
        error=None,
        **at_last,
    )
