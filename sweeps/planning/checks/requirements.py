"""What a spec asks for by name that a machine may lack: found before anything runs, never replaced in silence."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sweeps.spec.key_path import KeyPath
from sweeps.spec.validation_messages import origin_of

if TYPE_CHECKING:
    from sweeps.planning.draft import Draft
    from sweeps.spec.problems import Problem
    from sweeps.spec.spec import Spec
    from trainables.trial.config import TrialConfig

# That a CPU has these, or in fp16's case hasn't, is known; only GPUs are asked, which takes seconds.
GPU_REQUIREMENTS = frozenset({"bf16", "fp16", "bitsandbytes 4-bit", "bitsandbytes 8-bit"})


@dataclass(frozen=True)
class Requirement:
    """Something that trials ask of a machine, by its name in ``capabilities``, and where the spec says so."""

    name: str
    keys: KeyPath


def cell_requirements(draft: Draft, configs: Iterable[TrialConfig], on_gpus: bool) -> tuple[Requirement, ...]:
    """All that a cell's trials need and a machine may lack."""
    found = (
        Requirement(what, origin_of(draft.parts, place))
        for config in configs
        for place, what in config.needs()
        if on_gpus or what not in GPU_REQUIREMENTS
    )
    return tuple(dict.fromkeys(found))


def missing_on_this_machine(spec: Spec, needs: Iterable[Requirement]) -> Iterator[Problem]:
    """What of it this machine can't do."""
    from trainables.system import capabilities

    for need in needs:
        found = capabilities.check(need.name)
        if not found.works:
            yield requirement_problem(spec, need, "this machine", found.detail)


def requirement_problem(spec: Spec, need: Requirement, where: str, detail: str) -> Problem:
    """That something the spec asks for doesn't work there, and what to do about it."""
    return spec.source.problem(need.keys, f"{need.name} doesn't work on {where}: {detail}")
