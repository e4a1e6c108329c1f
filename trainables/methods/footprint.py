"""A method's memory footprint: what it trains and keeps of a model, in the numbers that memory prediction needs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from trainables.config.optimizers import TrainedTensor
from trainables.models.architecture.decoder_shape import DecoderShape


@dataclass(frozen=True)
class Footprint:
    """What trains: ``trained_layers`` decoder layers, the last ones or (``first_layers``) the first; ``embedding``,
    ``head`` and ``last_norm`` where they are true; and in every layer an adapter of ``rank`` beside each linear layer
    named in ``adapted``.

    ``linear_bytes``: bytes per frozen linear weight where it is quantized, else ``None``. ``constant_bytes``: its share
    of the quantization constants. ``holds_inputs``: whether quantized products keep their inputs for the backward pass
    where checkpointing doesn't see them.
    """

    trained_layers: int = 0
    first_layers: bool = False
    embedding: bool = False
    head: bool = False
    last_norm: bool = False
    rank: int = 0
    adapted: frozenset[str] = frozenset()
    linear_bytes: float | None = None
    constant_bytes: float = 0.0
    holds_inputs: bool = False

    def adapter_params(self, shape: DecoderShape) -> int:
        """A: (rank, inputs) and B: (outputs, rank), for each adapted linear layer."""
        sizes = (shape.linear[name] for name in self.adapted if name in shape.linear)
        return shape.layers * self.rank * sum(inputs + outputs for inputs, outputs in sizes)

    def trained_params(self, shape: DecoderShape) -> int:
        return sum(tensor.count * tensor.size for tensor in self.trained_tensors(shape))

    def trained_tensors(self, shape: DecoderShape) -> Iterator[TrainedTensor]:
        """The shapes of the weights that train, as far as an optimizer's state depends on them."""
        layers, hidden = self.trained_layers, shape.hidden
        if layers:
            for inputs, outputs in shape.linear.values():
                yield TrainedTensor((outputs, inputs), layers)
            yield TrainedTensor((hidden,), layers * shape.norms)
            if others := shape.norm_and_bias_params - shape.norms * hidden:
                yield TrainedTensor((others,), layers)
        if self.last_norm:
            yield TrainedTensor((hidden,))
        if self.embedding:
            yield TrainedTensor((shape.vocab, hidden), part="embedding")
        if head := self._head_params(shape):
            yield TrainedTensor((head // hidden, hidden), part="head")
        for name in self.adapted:
            if name in shape.linear:
                inputs, outputs = shape.linear[name]
                yield TrainedTensor((self.rank, inputs), shape.layers)
                yield TrainedTensor((outputs, self.rank), shape.layers)

    def _head_params(self, shape: DecoderShape) -> int:
        """Parameters of a head that trains and isn't the embedding. A new head always trains."""
        if shape.outputs is not None:
            return shape.head_params
        return shape.embedding_params * (self.head and not (shape.tied and self.embedding))

    def trains_layer(self, shape: DecoderShape, number: int) -> bool:
        """Whether layer ``number``, counted from 0, trains."""
        return (
            number < self.trained_layers
            if self.first_layers
            else number >= shape.layers - self.trained_layers
        )

    def layers_with_gradients(self, shape: DecoderShape) -> int:
        """How many layers the backward pass goes through, counted from the last."""
        # Gradients pass down to the lowest weight that trains: these are in or below the first layer.
        whole = self.embedding or self.adapted or (self.first_layers and self.trained_layers)
        return shape.layers if whole else self.trained_layers
