"""How many GPUs a worker takes where the spec leaves ``gpus`` out: what its trial needs of one where there are any."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sweeps.planning.resources.place import Place
from sweeps.spec.settings import ResourcesConfig


@dataclass(frozen=True)
class DefaultGpus:
    """``gpus`` of a worker, and the reason in words: ``this machine has 2 GPUs``."""

    gpus: float | Literal["auto"]
    reason: str

    def note(self) -> str:
        """What the plan says about it."""
        amounts = {0: "no GPU", "auto": "the smallest share of a GPU that its trial fits in (auto)"}
        taken = amounts.get(self.gpus, f"{self.gpus} GPU")
        advice = ". To train on the CPU, give resources.gpus: 0" if self.gpus else ""
        return f"resources.gpus is not given: a worker takes {taken}, as {self.reason}{advice}"

    def fill(self, resources: ResourcesConfig) -> ResourcesConfig:
        """The resources with these GPUs, unless they say themselves how many they are."""
        return resources if is_given(resources) else resources.model_copy(update={"gpus": self.gpus})


def is_given(resources: ResourcesConfig) -> bool:
    """Whether the spec says how many GPUs a worker takes."""
    return "gpus" in resources.model_fields_set


def of(place: Place) -> DefaultGpus:
    """For trials that run there."""
    if place.begun is not None:
        return DefaultGpus(place.begun.gpus, "this run began with that")
    if count := int(sum(machine.gpus for machine in place.machines)):
        return DefaultGpus("auto", f"{place.name} has {count} GPU{'s' if count > 1 else ''}")
    # A machine may have some, and a torch that is built without support for them.
    return DefaultGpus(0, f"{place.name} has none{'' if place.is_cluster else ' that torch can use'}")
