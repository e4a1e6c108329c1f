"""The placement groups of slots' worker groups: named after their slot, so that those of dead slots can be removed.

Ray keeps a placement group that an actor made until that actor's whole job is over, and a worker group's is made by
Train's controller, which dies with its slot. Train's own cleaner knows a group only once it has started; until then
its resources, or its place in the queue for them, would be lost.
"""

from __future__ import annotations

from typing import Any

PREFIX = "paretune-slot-"


def remove_groups_of_dead_slots() -> int:
    """Gives back what dead slots hold or wait for; returns how many placement groups that were."""
    import ray
    from ray._private.state import actors
    from ray._raylet import PlacementGroupID
    from ray.util.placement_group import PlacementGroup, remove_placement_group

    # Ray's table also has the groups that were removed long ago.
    groups = [group for group in ray.util.placement_group_table().values() if group["state"] != "REMOVED"]
    orphans = [
        group["placement_group_id"]
        for group in groups
        if group["name"].startswith(PREFIX) and _is_dead(actors(_slot(group["name"])))
    ]
    for group_id in orphans:
        # By id: a name is looked up in this driver's namespace, and a killed driver's groups may be there a while.
        remove_placement_group(PlacementGroup(PlacementGroupID(bytes.fromhex(group_id))))
    return len(orphans)


def _slot(name: str) -> str:
    # A name is the prefix, the slot's actor id, and a random part that tells the slot's groups apart.
    return name.removeprefix(PREFIX).rpartition("-")[0]


def _is_dead(actor: Any) -> bool:
    # Ray keeps only some of its dead actors, so one that it doesn't know is dead too.
    return not actor or actor["State"] == "DEAD"
