"""What a method trains and holds of a model, in numbers: all that a prediction of its memory has to know of it."""

from __future__ import annotations

from dataclasses import dataclass

from trainables.models.decoder_shape import Shape


@dataclass(frozen=True)
class Footprint:
    """``trained_layers`` decoder layers train, the last ones or the ``first``; ``embedding``, ``head``, ``last_norm``:
    whether those do. ``adapted`` linear layers have adapters of ``rank`` in every layer. ``linear_bytes`` is what a
    frozen linear weight takes where it is quantized, ``constant_bytes`` its share of the constants that go with it;
    ``holds_inputs``: its products keep their inputs to themselves.
    """

    trained_layers: int = 0
    first: bool = False
    embedding: bool = False
    head: bool = False
    last_norm: bool = False
    rank: int = 0
    adapted: frozenset[str] = frozenset()
    linear_bytes: float | None = None
    constant_bytes: float = 0.0
    holds_inputs: bool = False

    def adapter_params(self, shape: Shape) -> int:
        found = (shape.linear[name] for name in self.adapted if name in shape.linear)
        return shape.layers * self.rank * sum(inputs + outputs for inputs, outputs in found)

    def trained_params(self, shape: Shape) -> int:
        whole = self.trained_layers * shape.layer_params + self.last_norm * shape.hidden
        whole += self.embedding * shape.embedding_params
        return whole + self._head_params(shape) + self.adapter_params(shape)

    def _head_params(self, shape: Shape) -> int:
        """Of a head that trains, beside the embedding: one that gives rewards is new, so it always does."""
        if shape.rewards:
            return shape.hidden
        return shape.embedding_params * (self.head and not (shape.tied and self.embedding))

    def trains_layer(self, shape: Shape, number: int) -> bool:
        """Whether the layer of that number, from 0, trains."""
        return number < self.trained_layers if self.first else number >= shape.layers - self.trained_layers

    def reached(self, shape: Shape) -> int:
        """How many layers gradients go through, from the last on."""
        whole = self.embedding or self.adapted or (self.first and self.trained_layers)
        return shape.layers if whole else self.trained_layers
