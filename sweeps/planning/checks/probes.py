"""The configs that stand for a cell's whole search space: the ends of every range, and every choice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from sweeps.planning.cell import build_config
from sweeps.planning.draft import Draft
from sweeps.spec.domain_parser import Domain
from sweeps.spec.problems import Problem
from sweeps.spec.schema import error_translator
from sweeps.spec.tree import CellPath
from trainables.trial.config import TrialConfig


def probe_values(space: Mapping[CellPath, Domain]) -> Iterator[dict[str, Any]]:
    """Values by leaf: every probe of each domain with the others at their first, then all at their last.

    That is linear in the number of domains, where all combinations would be exponential.
    """
    probes = {".".join(path): domain.probes() for path, domain in space.items()}
    first = {leaf: values[0] for leaf, values in probes.items()}
    yield first
    for leaf, values in probes.items():
        for value in values[1:]:
            yield {**first, leaf: value}
    if len(probes) > 1:
        yield {leaf: values[-1] for leaf, values in probes.items()}


def build_configs(draft: Draft, tree: Mapping[str, Any]) -> tuple[list[TrialConfig], list[Problem]]:
    """A config for each probe of a draft's space that is valid, and the problems with the others."""
    translator = error_translator(draft.source)
    configs, problems = [], []
    for values in probe_values(draft.space):
        try:
            configs.append(build_config(tree, values))
        except ValidationError as error:
            translated = translator.problems(error, TrialConfig, draft.parts, draft.space)
            problems += [problem for path, problem in translated if not _is_consequence(path, draft.broken)]
    return configs, problems


def _is_consequence(path: CellPath, broken: frozenset[CellPath]) -> bool:
    """Whether a problem at ``path`` only follows from a setting that was left out because it is broken."""
    # Either path may contain the other: a broken setting explains errors of its section and of its parts.
    return any(known[: len(path)] == path or path[: len(known)] == known for known in broken)
