"""A ``TorchTrainer`` for a slot's worker group: it starts two seconds sooner, and a lone worker opens no port.

Importing this imports torch, so a slot does it late and the driver never does. Checked with Ray 2.60.0; each override
says what it changes and why.
"""

from __future__ import annotations

from typing import Any

from ray.train.torch import TorchTrainer
from ray.train.torch.config import TorchConfig, _TorchBackend
from ray.train.v2._internal.callbacks import DatasetsCallback
from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback
from torch.distributed import is_nccl_available

from sweeps.cluster.train_callbacks import PlacementGroupNames


class GroupOnlyBackend(_TorchBackend):
    """Makes a process group only where there are several workers."""

    def on_start(self, worker_group: Any, backend_config: Any) -> None:
        # Torch's store for the group listens on all interfaces and requires no token; a lone worker needs no group.
        if len(worker_group) > 1:
            super().on_start(worker_group, backend_config)


class GroupOnlyConfig(TorchConfig):
    @property
    def backend_cls(self) -> Any:
        # TorchConfig (2.60.0) names its backend class here and has no option for another.
        return GroupOnlyBackend


class LightTrainer(TorchTrainer):
    """The trainer of the slot whose actor id is ``slot``."""

    def __init__(self, slot: str, *args: Any, **options: Any) -> None:
        self.slot = slot
        # Ray would choose NCCL by the GPUs it counts, which may be more than torch was built for.
        backend = None if is_nccl_available() else "gloo"
        super().__init__(*args, torch_config=GroupOnlyConfig(backend), **options)

    def _create_default_callbacks(self) -> list[Any]:
        # Each unneeded callback starts a process. One manages Ray data sets, which aren't used. The other frees the
        # resources of a dead controller through the dashboard, which may not run; slots free them themselves.
        unneeded = (DatasetsCallback, PlacementGroupCleanerCallback)
        usual = super()._create_default_callbacks()  # type: ignore[misc]  # mypy finds the old Ray Train's
        kept = [callback for callback in usual if not isinstance(callback, unneeded)]
        return [*kept, PlacementGroupNames(self.slot)]
