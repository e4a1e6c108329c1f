"""Whether the sampler that a spec asks for can propose on this machine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sweeps.planning.checks.cell import CheckedDraft
from sweeps.spec.problems import Problem

NEEDS_PACKAGE = ("cmaes",)  # samplers, by the name of their package's capability


def problems(checked: Sequence[CheckedDraft]) -> Iterator[Problem]:
    """A sampler whose package is missing: the driver proposes, so the other machines need none."""
    for each in checked:
        if each.search is None or each.search.sampler not in NEEDS_PACKAGE:
            continue
        from trainables.system.capabilities import check_capability

        capability = check_capability(each.search.sampler)
        if not capability.works:
            what = f"{each.search.sampler} {capability.detail}, or take another sampler, such as auto"
            yield each.draft.problem(("search", "sampler"), what)
