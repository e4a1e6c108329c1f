"""What measured trials teach about predicted peaks."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Protocol

from sweeps.planning.memory.residuals import KEPT, Residual, _kept, _model, arithmetic, likeness, place
from trainables.storage import files
from trainables.storage.locks import locked

if TYPE_CHECKING:
    from sweeps.planning.memory.cell_memory import Foretold
    from trainables.results import Record


class PredictedCell(Protocol):
    """A cell, as far as its memory goes."""

    @property
    def name(self) -> str: ...
    @property
    def predicted(self) -> Foretold | None: ...


def learn(cells: Iterable[PredictedCell], records: Iterable[Record]) -> None:
    """Keeps what a sweep's records have measured."""
    found = dict(_measured(cells, records))
    if not found:
        return
    # A cache that can't be written costs accuracy, not the sweep.
    with contextlib.suppress(OSError), locked(place().with_name(".foretold.lock")):
        known = {key: value for key, value in _kept().items() if key not in found}
        newest = list({**known, **found}.items())[-KEPT:]
        files.write_json(place(), {key: asdict(value) for key, value in newest})


def _measured(cells: Iterable[PredictedCell], records: Iterable[Record]) -> Iterator[tuple[str, Residual]]:
    from trainables.trial.config import TrialConfig

    by_name = {cell.name: cell for cell in cells}
    for record in records:
        cell = by_name.get(record.cell)
        foretold, measured = record.predicted_peak_bytes, record.peak_train_bytes
        if cell is None or cell.predicted is None or not (foretold and measured):
            continue
        config = TrialConfig.model_validate(record.config)
        model = _model(cell.predicted.most.numbers)
        alike = likeness(config, record.device or "cpu", record.workers or 1)
        residual = Residual(alike, model, foretold, measured, arithmetic())
        yield f"{record.memory_shape}-{model}", residual


def notes(cells: Iterable[PredictedCell]) -> Iterator[str]:
    """Of each cell whose foretold peak was corrected, by how much."""
    told = [
        f"{cell.name} {found}"
        for cell in cells
        if cell.predicted is not None and (found := cell.predicted.most.correction).count
    ]
    if told:
        yield f"foretold peaks are corrected by what was measured before: {', '.join(told)}"
