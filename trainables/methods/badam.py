"""BAdam: blocks of decoder layers train in turn, each for so many steps.

Q. Luo, H. Yu and X. Li, "BAdam: A Memory Efficient Full Parameter Optimization Method for Large Language Models", 2024,
arXiv:2404.02827, algorithm 1. The optimizer is the spec's, by default AdamW as theirs.
"""

from __future__ import annotations

from typing import Literal

from trainables.methods.layerwise import LayerWise, Period


class BAdam(LayerWise):
    """Blocks of ``layers`` decoder layers train in turn, each for ``every`` steps, in an ``order`` that is drawn anew
    for each round, or from the first to the last layer or back.

    ``ends``: embeddings, the last norm and the head are a block, too, the last one of a round. Else they don't train.
    """

    kind: Literal["badam"] = "badam"
    order: Literal["random", "ascending", "descending"] = "random"
    ends: bool = False

    @property
    def trains_ends(self) -> bool:
        return self.ends

    def active_layers(self, count: int, period: int, seed: int) -> list[int]:
        import numpy as np

        blocks = -(-count // self.layers)
        turn, place = divmod(period, blocks + self.ends)
        if place == blocks:
            return []
        numbers = list(range(blocks))
        if self.order == "random":
            numbers = np.random.default_rng((seed, turn)).permutation(blocks).tolist()
        elif self.order == "descending":
            numbers.reverse()
        first = numbers[place] * self.layers
        return list(range(first, min(first + self.layers, count)))

    def ends_train(self, count: int, period: int) -> bool:
        blocks = -(-count // self.layers)
        return self.ends and period % (blocks + 1) == blocks

    def heavy_periods(self, count: int) -> list[Period]:
        # The first layers are the block whose gradients go through most of the model.
        block = Period(tuple(range(min(self.layers, count))), False)
        return [block, Period((), True)] if self.ends else [block]
