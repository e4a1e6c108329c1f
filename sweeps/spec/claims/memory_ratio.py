"""The claim that one cell's measured memory is so many times another's, or that it saves what its weights save."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from sweeps.spec.claims.base import PairClaim, Subject, check_bounds


class MemoryRatio(PairClaim):
    """The measured peak of ``a`` is ``at_least`` or ``at_most`` so many times that of ``b``, or between both. With
    ``of: saved``, that many times what the weights of ``a`` are smaller by is what its peak is lower by.
    """

    subject: ClassVar[Subject] = "memory"

    kind: Literal["memory_ratio"] = "memory_ratio"
    of: Literal["peak", "saved"] = "peak"
    at_least: float | None = Field(default=None, gt=0)
    at_most: float | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _check_bounds(self) -> Self:
        check_bounds(self.at_least, self.at_most, "at_most: 1.05 times the other's memory")
        return self
