"""Where a sweep's trials will run, as far as it decides what a spec leaves out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

from sweeps.cluster import node_resources
from sweeps.cluster.packing import Machine
from trainables.system import machine


@dataclass(frozen=True)
class Begun:
    """The resources that a run which is resumed began with: its trials must be comparable with those that are there."""

    gpus: float | Literal["auto"]
    cpus: float
    concurrent: int | None
    precision: str  # of trials on GPUs whose spec gives none

    @classmethod
    def of(cls, environment: Mapping[str, Any]) -> Begun:
        """Those in a run's ``environment.json``. Earlier versions took no GPU, one core and bf16, and wrote nothing."""
        plan = environment.get("plan") or {}
        given = plan.get("gpus", 0), plan.get("cpus", 1), plan.get("concurrent")
        return cls(*given, plan.get("precision", "bf16"))


@dataclass(frozen=True)
class Place:
    """``name``: in words, ``this machine``. ``find_machines`` is called once at most, where something is left out.

    ``is_cluster``: its nodes come and go. ``begun``: of a run that is resumed.
    """

    name: str
    find_machines: Callable[[], Sequence[Machine]]
    is_cluster: bool = False
    begun: Begun | None = None

    @cached_property
    def machines(self) -> tuple[Machine, ...]:
        """With the memory that is free now."""
        return tuple(self.find_machines())

    def resumed(self, environment: Mapping[str, Any] | None) -> Place:
        """The same place for a run with this ``environment.json``; ``None`` for a new run."""
        return self if environment is None else replace(self, begun=Begun.of(environment))


def this_machine() -> Place:
    """With the cores that this process may use."""
    return Place(
        "this machine", lambda: [replace(node_resources.this_machine(), cpus=float(machine.cpu_cores()))]
    )
