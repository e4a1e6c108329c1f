"""What a cell's trial has to do: tokens to train on, and rows to score."""

from __future__ import annotations

from dataclasses import dataclass

from sweeps.planning.cell import Cell
from trainables.data.loading import load
from trainables.models.folder import ModelError
from trainables.trial.config import TrialConfig
from trainables.trial.known_tokenizer import deferred_tokenizer


@dataclass(frozen=True)
class Work:
    """``rows`` of ``row_tokens`` each to train on; ``test_rows`` scored once, ``validation_rows`` at each of
    ``validations`` steps.
    """

    rows: int
    row_tokens: float
    test_rows: int
    set_rows: int  # of further evaluation sets, scored with the test rows
    validation_rows: int
    validations: tuple[int, ...]
    steps: int

    @property
    def tokens(self) -> float:
        return self.rows * self.row_tokens

    def validated_rows(self, until: int) -> int:
        """Validation rows that are scored of a trial which ends after that step."""
        return self.validation_rows * sum(step <= until for step in self.validations)


def work_of(cell: Cell, known_row_tokens: float | None) -> Work:
    """That of a trial of full length. ``known_row_tokens``: of rows of the same data, for a model that isn't here."""
    config = cell.suggested()
    train = config.train
    steps = train.steps or cell.steps
    validations: set[int] = set()
    if config.data.holds_out:
        validations = {
            *(rung for rung in cell.rungs if rung not in cell.training_rungs),
            *train.validation_steps(steps),
        }
    quality = cell.quality_rows
    return Work(
        rows=steps * train.update_rows,
        row_tokens=_row_tokens(config, known_row_tokens),
        test_rows=quality.rows if quality is not None else 0,
        set_rows=sum(each.rows for each in cell.evaluation_sets),
        validation_rows=cell.validation_rows,
        validations=tuple(sorted(validations)),
        steps=steps,
    )


def _row_tokens(config: TrialConfig, known: float | None) -> float:
    """The mean tokens of a training row; the cutoff where neither the tokenizer nor the rows are known."""
    if config.train.packing:
        return config.data.cutoff
    try:
        tokenizer = deferred_tokenizer(config)
    except ModelError:
        return known if known is not None else config.data.cutoff
    rows = load(config.data, config.stage.row_type).train
    lengths = config.stage.tokens(tokenizer, rows, config.data.cutoff).lengths
    return float(lengths.mean()) * config.stage.examples_per_row if len(lengths) else config.data.cutoff
