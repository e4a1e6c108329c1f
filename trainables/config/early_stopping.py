"""When a trial ends because its validations get no better."""

from __future__ import annotations

from pydantic import Field

from trainables.config.base import Frozen


class EarlyStopping(Frozen):
    """A trial ends after ``patience`` validations in a row, at every ``train.eval_steps`` steps, that are not better.

    ``min_delta``: by how much more than that an objective has to be higher than the last better one, to be better.
    """

    patience: int = Field(default=3, ge=1)
    min_delta: float = Field(default=0.0, ge=0)
