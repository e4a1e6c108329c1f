"""Which cell a claim means by a name: that of a cell, or of its method where this has one cell."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from sweeps.planning.draft import Draft
from sweeps.spec.claims.reading import PART
from sweeps.spec.key_path import parse_path
from sweeps.spec.problems import Problem, refusal
from sweeps.spec.spec import Spec
from trainables.system.cell_names import cells_named
from trainables.system.suggestions import did_you_mean


def named_cells(wanted: str, methods: Mapping[str, str]) -> list[str]:
    """The cells of that name, or of the method of that name. ``methods``: of each cell, by its name. Blanks and dashes
    count as one.

    >>> named_cells("lora rank8", {"sft-full": "full", "sft-lora-rank8": "lora-rank8"})
    ['sft-lora-rank8']
    """
    return cells_named(wanted, methods, lambda cell: (cell,), lambda cell: (methods[cell],))


def problems(spec: Spec, drafts: Sequence[Draft]) -> Iterator[Problem]:
    """Names in claims that no cell of the spec has, or several have."""
    if any(draft.placeholder for draft in drafts):
        return  # the entries are what has to be corrected
    methods = {draft.name: draft.method for draft in drafts}
    for claim in spec.claims:
        for place, name in claim.cells.items():
            path = (PART, spec.claim_index(claim), *(parse_path(place) or ()))
            found = named_cells(name, methods)
            if not found:
                known = list(dict.fromkeys((*methods.values(), *methods)))
                absent = refusal(f"there is no cell {name}", ", ".join(known), did_you_mean(name, known))
                yield spec.source.problem(path, absent)
            elif len(found) > 1:
                what = f"{name} is the method of several cells. Name one of {', '.join(found)}"
                yield spec.source.problem(path, what)
