"""The resources of a dead slot are given back: Ray itself keeps them until the whole job is over."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from sweeps.cluster.placement_groups import remove_groups_of_dead_slots
from sweeps.cluster.session import session

pytestmark = pytest.mark.sweep


class Controller:
    """What Train's controller does of interest here."""

    def start(self, slot: str, cpus: int) -> str:
        from ray.train.v2._internal.execution.worker_group import worker_group

        from sweeps.cluster.train_callbacks import PlacementGroupNames

        PlacementGroupNames(slot).after_controller_start(None)
        return worker_group.placement_group([{"CPU": cpus}]).id.hex()


class Slot:
    def actor(self) -> str:
        import ray

        return str(ray.get_runtime_context().get_actor_id())


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    with session(io.StringIO(), num_cpus=1) as ray:
        ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
        yield ray


def states(ray: Any) -> dict[str, str]:
    return {name: group["state"] for name, group in ray.util.placement_group_table().items()}


@pytest.mark.parametrize("cpus", [1, 2])  # there is room for one; of the other, only the wish is there
def test_the_group_of_a_slot_that_was_killed_is_given_back_and_a_living_ones_is_not(
    cluster: Any, cpus: int
) -> None:
    """Whether it has started or waits for room, so that no worker could say that it is in it."""
    remote = cluster.remote(num_cpus=0)
    slot, controller = remote(Slot).remote(), remote(Controller).remote()
    group = cluster.get(controller.start.remote(cluster.get(slot.actor.remote()), cpus))
    assert remove_groups_of_dead_slots() == 0
    assert states(cluster)[group] != "REMOVED"

    for actor in (slot, controller):
        cluster.kill(actor)
    with pytest.raises(cluster.exceptions.RayActorError):
        _call_until_it_is_dead(cluster, slot)
    assert remove_groups_of_dead_slots() == 1
    assert states(cluster)[group] == "REMOVED"
    assert remove_groups_of_dead_slots() == 0


def _call_until_it_is_dead(ray: Any, slot: Any) -> None:
    while True:  # a call may still reach an actor that is being killed
        ray.get(slot.actor.remote())
