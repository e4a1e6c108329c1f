"""Features that a spec asks for by name and a machine may lack: reported before anything runs, never replaced."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sweeps.spec.key_path import KeyPath

if TYPE_CHECKING:
    from sweeps.planning.draft import Draft
    from sweeps.spec.problems import Problem
    from sweeps.spec.source import Source
    from trainables.trial.config import TrialConfig

# Examined on GPUs only, as that takes seconds: every CPU has them, but for fp16, which none has.
GPU_REQUIREMENTS = frozenset({"bf16", "fp16", "bitsandbytes 4-bit", "bitsandbytes 8-bit"})


@dataclass(frozen=True)
class Requirement:
    """A feature that trials need, by its name in ``trainables.system.capabilities``, and where the spec asks for it."""

    name: str
    path: KeyPath


def cell_requirements(draft: Draft, configs: Iterable[TrialConfig], on_gpus: bool) -> tuple[Requirement, ...]:
    """The features that a cell's trials need and a machine may lack."""
    requirements = (
        Requirement(name, draft.origin(path))
        for config in configs
        for path, name in config.needs()
        if on_gpus or name not in GPU_REQUIREMENTS
    )
    return tuple(dict.fromkeys(requirements))


def missing_on_this_machine(source: Source, requirements: Iterable[Requirement]) -> Iterator[Problem]:
    """A problem for each feature that does not work on this machine."""
    from trainables.system import capabilities

    for requirement in requirements:
        capability = capabilities.check_capability(requirement.name)
        if not capability.works:
            yield requirement_problem(source, requirement, "this machine", capability.detail)


def requirement_problem(source: Source, requirement: Requirement, where: str, detail: str) -> Problem:
    """A feature that does not work on a machine; ``detail`` says why, and what to do."""
    return source.problem(requirement.path, f"{requirement.name} doesn't work on {where}: {detail}")
