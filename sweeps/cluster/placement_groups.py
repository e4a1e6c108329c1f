"""The placement groups of slots' worker groups: named after their slot, so that those of a dead one can be given back.

Ray keeps a placement group that an actor made until that actor's whole job is over, and a worker group's is made by
Train's controller, which dies with its slot. Train's own cleaner knows a group only once it has started; until then
its resources, or its place in the queue for them, would be lost.
"""

from __future__ import annotations

import functools
import secrets
from typing import Any

PREFIX = "paretune-slot-"


def naming(slot: str) -> Any:
    """A callback for Train's controller: each placement group that it makes is named after this slot's actor id."""
    from ray.train.v2._internal.execution.callback import ControllerCallback

    class Naming(ControllerCallback):
        def after_controller_start(self, train_run_context: Any) -> None:
            from ray.train.v2._internal.execution.worker_group import worker_group

            make = worker_group.placement_group

            @functools.wraps(make)
            def named(*arguments: Any, **options: Any) -> Any:
                return make(*arguments, **{**options, "name": f"{PREFIX}{slot}-{secrets.token_hex(4)}"})

            worker_group.placement_group = named

    return Naming()


def release_of_the_dead() -> int:
    """Gives back what slots hold that are dead; how many placement groups that were."""
    import ray
    from ray._private.state import actors
    from ray.util.placement_group import get_placement_group, remove_placement_group

    table = ray.util.placement_group_table()
    found = [group["name"] for group in table.values() if group["state"] != "REMOVED"]
    left = [name for name in found if name.startswith(PREFIX) and _is_dead(actors(_slot(name)))]
    for name in left:
        remove_placement_group(get_placement_group(name))
    return len(left)


def _slot(name: str) -> str:
    return name.removeprefix(PREFIX).rpartition("-")[0]


def _is_dead(actor: Any) -> bool:
    return not actor or actor["State"] == "DEAD"
