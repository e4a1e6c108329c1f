"""The claim that one cell's best learning rate is so many times another's."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from sweeps.spec.claims.base import PairClaim, Subject


class BestSetting(PairClaim):
    """The best learning rate of ``a`` is ``at_least`` or ``at_most`` so many times that of ``b``, or between both."""

    subject: ClassVar[Subject] = "learning rates"

    kind: Literal["best_setting"] = "best_setting"
    setting: Literal["train.learning_rate"] = "train.learning_rate"
    at_least: float | None = Field(default=None, gt=0)
    at_most: float | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _check_bounds(self) -> Self:
        if self.at_least is None and self.at_most is None:
            raise ValueError("give at_least: 5, at_most: 20, or both: how many times the other's rate it is")
        if self.at_least is not None and self.at_most is not None and self.at_least >= self.at_most:
            raise ValueError(
                f"got at_least {self.at_least:g} and at_most {self.at_most:g}; at_least is the smaller one"
            )
        return self
