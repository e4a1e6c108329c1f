"""The trainer of a model that is sharded already (``training.fsdp``); each override says why.

Checked with the versions in ``trainables/system/tested_versions.txt``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch.distributed.tensor import DTensor

from trainables.training import fsdp_checkpoint
from trainables.training.stage_trainer import StageTrainer


class ShardedTrainer(StageTrainer):
    """Leaves the model as ``fully_shard`` has it, and writes and reads each worker's shard of a checkpoint."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        # The constructor may have run it (DPO's reference), and an optimizer must be made of shards, not whole weights.
        model: Any = self.model
        model.reshard()
        # Else accelerate would wrap the model once more. Set last: the constructor refuses checkpoints of such models.
        self.is_distributed_loading_by_transformers = True

    @contextmanager
    def _defer_fsdp_gradient_reduction(self) -> Iterator[None]:
        """Not deferred: accumulating before the reduction saves sending, but holds whole gradients."""
        yield

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        """The norm over all workers' shards, where transformers expects a plain number."""
        norm = super()._get_grad_norm(model, grad_norm)
        return norm.full_tensor() if isinstance(norm, DTensor) else norm

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Nothing: the weights are saved with the optimizer's state."""

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        fsdp_checkpoint.save(self, Path(output_dir))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        fsdp_checkpoint.load_weights(self.model, Path(resume_from_checkpoint))

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is not None:
            fsdp_checkpoint.load_optimizer(self, Path(checkpoint))
