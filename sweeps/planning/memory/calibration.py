"""Measured training peaks: stored after a sweep, and noted where they correct the predicted peaks of the next."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Protocol

from sweeps.planning.memory import residuals
from sweeps.planning.memory.residuals import Residual
from trainables.storage import files
from trainables.storage.locks import locked

if TYPE_CHECKING:
    from sweeps.planning.memory.cell_memory import CellMemory
    from trainables.results import Record

MAX_RESIDUALS = 1000  # stored; the oldest make way


class PredictedCell(Protocol):
    """The part of a cell that memory predictions need."""

    @property
    def name(self) -> str: ...
    @property
    def predicted(self) -> CellMemory | None: ...


def store_residuals(cells: Iterable[PredictedCell], records: Iterable[Record]) -> None:
    """Stores the measured peaks in a sweep's records for later predictions."""
    new = dict(_residuals(cells, records))
    if not new:
        return
    path = residuals.cache_file()
    # A cache that can't be written costs accuracy, not the sweep.
    with contextlib.suppress(OSError), locked(path.with_name(".predicted.lock")):
        # A key that is measured again leaves `older`, so that it moves to the end, where the newest are kept.
        older = {key: value for key, value in residuals.stored_residuals().items() if key not in new}
        newest = list({**older, **new}.items())[-MAX_RESIDUALS:]
        files.write_json(path, {key: asdict(value) for key, value in newest})


def _residuals(cells: Iterable[PredictedCell], records: Iterable[Record]) -> Iterator[tuple[str, Residual]]:
    from trainables.trial.config import TrialConfig

    by_name = {cell.name: cell for cell in cells}
    for record in records:
        cell = by_name.get(record.cell)
        predicted, measured = record.predicted_peak_bytes, record.peak_train_bytes
        if cell is None or cell.predicted is None or not (predicted and measured):
            continue
        if not record.longest_rows_measured:
            continue
        config = TrialConfig.model_validate(record.config)
        if record.device == "cuda" and config.train.optimizer_settings.pages_state:
            continue  # the prediction has the optimizer's state, which a GPU's allocator doesn't give out
        model = residuals.model_key(cell.predicted.largest.model)
        similarity = residuals.similarity_key(config, record.device or "cpu", record.workers or 1)
        # A shape that is measured again replaces what was stored for it.
        yield (
            f"{record.memory_shape}-{model}",
            Residual(similarity, model, predicted, measured, residuals.prediction_code_hash()),
        )


def notes(cells: Iterable[PredictedCell]) -> Iterator[str]:
    """By how much each cell's predicted peak was corrected, in one line; nothing if none was."""
    corrected = [
        f"{cell.name} {correction}"
        for cell in cells
        if cell.predicted is not None and (correction := cell.predicted.largest.correction).count
    ]
    if corrected:
        yield f"predicted peaks are corrected by earlier measurements: {', '.join(corrected)}"
