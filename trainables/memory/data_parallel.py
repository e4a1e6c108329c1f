"""What a worker of several holds of weights and gradients, and what it needs to send them; see ``sharding``."""

from __future__ import annotations

from dataclasses import dataclass

from trainables.memory.byte_widths import Widths
from trainables.methods.footprint import Footprint
from trainables.models.decoder_shape import Shape


@dataclass(frozen=True)
class Together:
    """``workers`` that train together and, if it is ``shared``, have one model among them."""

    workers: int
    shared: bool
    shape: Shape
    taken: Footprint
    bytes: Widths

    def held(self, whole: float) -> float:
        """Of what a lone worker would hold all the while: weights, optimizer state."""
        return whole / self.workers if self.shared else whole

    def gradients(self, so_far: float, every: float) -> float:
        """Of ``so_far``, where there will be ``every`` gradient.

        DDP has room for all of them from the start. Shares are made layer by layer; what is in no layer waits whole.
        """
        if self.workers == 1:
            return so_far
        if not self.shared:
            return every
        outside = min(so_far, self._outside_trained())
        return outside + (so_far - outside) / self.workers

    def waiting(self) -> int:
        """The head's gradient where it is the embedding's, too, for which it waits outside of DDP's room."""
        tied = self.taken.head and self.taken.embedding and self.shape.tied and not self.shape.rewards
        alone = self.workers == 1 or self.shared
        return 0 if alone or not tied else self.bytes.trainable * self.shape.embedding_params

    def put_together(self, backward: bool) -> int:
        """What is in no layer, and the layers that are whole at a time: two, and in the backward pass the gradients of
        one and what these are sent from.
        """
        if not self.shared:
            return 0
        trained = self.bytes.trainable * self._layer_trained()
        layer = trained + self._layer_frozen()
        return int(self._outside() + 2 * layer + (2 * trained if backward else 0))

    def sent_at_the_end(self) -> int:
        """What the gradients of all that is in no layer are sent from."""
        return self._outside_trained() if self.shared else 0

    def _layer_trained(self) -> float:
        """Trained weights of a layer, of the one that has the most."""
        own = self.shape.layer_params if self.taken.trained_layers else 0
        return own + self.taken.adapter_params(self.shape) / self.shape.layers

    def _layer_frozen(self) -> float:
        return 0 if self.taken.trained_layers else self.bytes.frozen * self.shape.layer_params

    def _outside_trained(self) -> int:
        shape, taken = self.shape, self.taken
        trained = taken.trained_params(shape) - taken.adapter_params(shape)
        return self.bytes.trainable * (trained - taken.trained_layers * shape.layer_params)

    def _outside(self) -> int:
        every = self.shape.params - self.shape.layers * self.shape.layer_params
        trained = self._outside_trained()
        return trained + self.bytes.frozen * (every - trained // self.bytes.trainable)
