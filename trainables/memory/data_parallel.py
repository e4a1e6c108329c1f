"""What one of several workers holds of weights, gradients and optimizer state, and what it needs to exchange them.

How workers share weights is in :mod:`trainables.training.fsdp`.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class DataParallelGroup:
    """``workers`` that train one trial; ``sharded``: each holds a share of the model (FSDP), not a copy (DDP).

    In bytes: ``layer``, the weights of the largest decoder layer as they are while it computes, of which
    ``trained_layer`` train; ``outside``, all weights that are in no decoder layer, of which ``trained_outside`` train;
    ``tied_head``, the gradient of a head that trains and is the embedding, else 0.
    """

    workers: int
    sharded: bool
    layer: float
    trained_layer: float
    outside: float
    trained_outside: float
    tied_head: int

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
        outside = min(computed, self.trained_outside)
        return outside + (computed - outside) / self.workers

    @property
    def has_buckets(self) -> bool:
        """Whether gradients are copied to DDP's buckets."""
        return self.workers > 1 and not self.sharded

    def gathered(self, backward: bool) -> int:
        """Weights that FSDP has whole at a time: those outside the layers, and two layers, as the next one is fetched
        while one computes. In the ``backward`` pass also the gradients of one layer, and the buffer they are sent from.
        """
        if not self.sharded:
            return 0
        return int(self.outside + 2 * self.layer + (2 * self.trained_layer if backward else 0))

    def final_send_buffer(self) -> float:
        """The buffer that FSDP sends the gradients of everything outside the layers from, after the last layer."""
        return self.trained_outside if self.sharded else 0
