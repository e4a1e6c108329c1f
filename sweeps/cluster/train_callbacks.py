"""Callbacks for Ray Train: they name placement groups after slots, and notice workers that Ray killed for memory.

Importing this imports ``ray.train``, so it is imported where a worker group is made. Checked with Ray 2.60.0; where a
class overrides something internal to Ray, its docstring says why.
"""

from __future__ import annotations

import functools
import secrets
from typing import Any

import ray
from ray.train import UserCallback
from ray.train.v2._internal.execution.callback import ControllerCallback

from sweeps.cluster.placement_groups import PREFIX


class PlacementGroupNames(ControllerCallback):
    """Names each placement group that Train's controller makes after its slot's actor id, ``slot``.

    Overrides ``worker_group.placement_group`` in the controller's process: Train (2.60.0) has no option for the name,
    and without one nobody could tell whose a group is once its slot is dead.
    """

    def __init__(self, slot: str) -> None:
        self.slot = slot

    def after_controller_start(self, train_run_context: Any) -> None:
        from ray.train.v2._internal.execution.worker_group import worker_group

        make = worker_group.placement_group

        @functools.wraps(make)
        def make_named(*arguments: Any, **options: Any) -> Any:
            return make(*arguments, **{**options, "name": f"{PREFIX}{self.slot}-{secrets.token_hex(4)}"})

        worker_group.placement_group = make_named


class OutOfMemoryWatch(UserCallback):
    """Tells the hub when Ray killed a worker because its node ran low on memory: the trial didn't fit."""

    def __init__(self, hub: Any) -> None:
        self.hub = hub

    def after_exception(self, run_context: Any, worker_exceptions: dict[int, Exception]) -> None:
        if any(was_killed_for_memory(error) for error in worker_exceptions.values()):
            ray.get(self.hub.memory_ran_out.remote())


def was_killed_for_memory(error: BaseException) -> bool:
    """Whether Ray's memory monitor killed a worker. The messages of other deaths mention memory too, as a guess."""
    # Train wraps the error of a worker that its health check finds dead.
    failure = getattr(error, "health_check_failure", error)
    return isinstance(failure, ray.exceptions.OutOfMemoryError) or "NODE_OUT_OF_MEMORY" in str(failure)
