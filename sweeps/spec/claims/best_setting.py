"""The claim that one cell's best learning rate is so many times another's."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from sweeps.spec.claims.base import PairClaim, Subject, check_bounds


class BestSetting(PairClaim):
    """The best learning rate of ``a`` is ``at_least`` or ``at_most`` so many times that of ``b``, or between both."""

    subject: ClassVar[Subject] = "learning rates"

    kind: Literal["best_setting"] = "best_setting"
    setting: Literal["train.learning_rate"] = "train.learning_rate"
    at_least: float | None = Field(default=None, gt=0)
    at_most: float | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _check_bounds(self) -> Self:
        check_bounds(self.at_least, self.at_most, "at_least: 5, at_most: 20 times the other's rate")
        return self
