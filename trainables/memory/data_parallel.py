"""What one of several workers holds of weights, gradients and optimizer state, and what it needs to exchange them.

How workers share weights is in :mod:`trainables.training.fsdp`.
"""

from __future__ import annotations

from dataclasses import dataclass

from trainables.memory.byte_widths import ByteWidths
from trainables.methods.footprint import Footprint
from trainables.models.architecture.decoder_shape import DecoderShape


@dataclass(frozen=True)
class DataParallelGroup:
    """``workers`` that train one trial; ``sharded``: each holds a share of the model (FSDP), not a copy (DDP)."""

    workers: int
    sharded: bool
    shape: DecoderShape
    footprint: Footprint
    widths: ByteWidths

    def share(self, whole: float) -> float:
        """One worker's part of what a lone worker would hold all the time: weights or optimizer state, in bytes."""
        return whole / self.workers if self.sharded else whole

    def gradients(self, computed: float, total: float) -> float:
        """Bytes of gradients that one worker holds once ``computed`` of ``total`` bytes of them have been computed.

        DDP allocates its buckets for all gradients up front. FSDP reduces them to shares layer by layer; those outside
        the layers stay whole until the end.
        """
        if self.workers == 1:
            return computed
        if not self.sharded:
            return total
        # The head's gradients come first, so the first computed bytes are taken to be outside the layers.
        outside = min(computed, self._trained_outside_layers())
        return outside + (computed - outside) / self.workers

    def tied_head_gradient(self) -> int:
        """The head's gradient under DDP where the head is the embedding: it stays outside the buckets until the
        embedding's gradient is there, too.
        """
        tied = (
            self.footprint.head
            and self.footprint.embedding
            and self.shape.tied
            and not self.shape.reward_head
        )
        buckets = self.workers > 1 and not self.sharded
        return self.widths.trainable * self.shape.embedding_params if buckets and tied else 0

    def gathered(self, backward: bool) -> int:
        """Weights that FSDP has whole at a time: those outside the layers, and two layers, as the next one is fetched
        while one computes. In the ``backward`` pass also the gradients of one layer, and the buffer they are sent from.
        """
        if not self.sharded:
            return 0
        trained = self.widths.trainable * self._trained_params_of_a_layer()
        # Where some layers train, the largest gathered layer is one of these: all of its weights train.
        frozen = 0 if self.footprint.trained_layers else self.widths.frozen * self.shape.layer_params
        layer = trained + frozen
        return int(self._outside_layers() + 2 * layer + (2 * trained if backward else 0))

    def final_send_buffer(self) -> int:
        """The buffer that FSDP sends the gradients of everything outside the layers from, after the last layer."""
        return self._trained_outside_layers() if self.sharded else 0

    def _trained_params_of_a_layer(self) -> float:
        """Trained weights of the layer that has the most of them, adapters included."""
        weights = self.shape.layer_params if self.footprint.trained_layers else 0
        return weights + self.footprint.adapter_params(self.shape) / self.shape.layers

    def _trained_outside_layers(self) -> int:
        """Bytes of trained weights that are in no decoder layer: embedding, head, last norm."""
        shape, footprint = self.shape, self.footprint
        trained = footprint.trained_params(shape) - footprint.adapter_params(shape)
        return self.widths.trainable * (trained - footprint.trained_layers * shape.layer_params)

    def _outside_layers(self) -> int:
        """Bytes of all weights that are in no decoder layer."""
        params = self.shape.params - self.shape.layers * self.shape.layer_params
        trained = self._trained_outside_layers()
        # Trained bytes back to a number of weights: all others are held in the frozen type.
        return trained + self.widths.frozen * (params - trained // self.widths.trainable)
