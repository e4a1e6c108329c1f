"""How many GPUs a worker takes where the spec leaves ``gpus`` out: one where there are any, else none."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

from sweeps.spec.settings import ResourcesConfig
from trainables.system import machine


@dataclass(frozen=True)
class DefaultGpus:
    """``gpus`` of a worker, and the reason in words: ``this machine has 2 GPUs``."""

    gpus: float | Literal["auto"]
    reason: str

    def note(self) -> str:
        """What the plan says about it."""
        taken = f"{self.gpus} GPU per worker" if self.gpus else "no GPU"
        advice = ". To train on the CPU, give resources.gpus: 0" if self.gpus else ""
        return f"resources.gpus is not given: a trial takes {taken}, as {self.reason}{advice}"

    def fill(self, resources: ResourcesConfig) -> ResourcesConfig:
        """The resources with these GPUs, unless they say themselves how many they are."""
        return resources if is_given(resources) else resources.model_copy(update={"gpus": self.gpus})


def is_given(resources: ResourcesConfig) -> bool:
    """Whether the spec says how many GPUs a worker takes."""
    return "gpus" in resources.model_fields_set


def of_this_machine() -> DefaultGpus:
    """For trials that run on this machine."""
    chosen = of_count(machine.gpu_count(), "this machine")
    # It may have some, and a torch that is built without support for them.
    return chosen if chosen.gpus else replace(chosen, reason=f"{chosen.reason} that torch can use")


def of_count(count: int, place: str) -> DefaultGpus:
    """For trials that run in a place (``this machine``) with so many GPUs."""
    if count:
        return DefaultGpus(1, f"{place} has {count} GPU{'s' if count > 1 else ''}")
    return DefaultGpus(0, f"{place} has none")


def of_earlier_session(environment: dict[str, Any]) -> DefaultGpus:
    """What a run that is resumed began with, by its ``environment.json``; its trials must be comparable."""
    # Earlier versions took none, and said nothing about it.
    return DefaultGpus(environment.get("plan", {}).get("gpus", 0), "this run began with that")
