"""LISA: some decoder layers train, drawn anew every so many steps; embeddings and head always do.

R. Pan et al., "LISA: Layerwise Importance Sampling for Memory-Efficient Large Language Model Fine-Tuning", 2024,
arXiv:2403.17919, algorithm 1.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from trainables.methods.layerwise import LayerWise, Period


class LISA(LayerWise):
    """``layers`` decoder layers train at a time, drawn with equal chances ``every`` so many steps."""

    kind: Literal["lisa"] = "lisa"
    layers: int = Field(default=2, ge=1)
    every: int = Field(default=20, ge=1)

    @property
    def trains_ends(self) -> bool:
        return True

    def active_layers(self, count: int, period: int, seed: int) -> list[int]:
        import numpy as np

        drawn = np.random.default_rng((seed, period)).choice(count, min(self.layers, count), replace=False)
        return [int(number) for number in drawn]

    def ends_train(self, count: int, period: int) -> bool:
        return True

    def heavy_periods(self, count: int) -> list[Period]:
        # Gradients reach all layers whichever train, since the embedding does.
        return [Period(tuple(range(count - min(self.layers, count), count)), True)]
