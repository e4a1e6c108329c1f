"""``--stage`` and ``--method``: some cells of a spec, by a name, a part of a name, or a kind."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sweeps.planning.draft import Draft
from sweeps.spec.problems import Problem
from trainables.system.suggestions import did_you_mean


def select_drafts(
    drafts: Sequence[Draft], stage: str | None, method: str | None
) -> tuple[list[Draft], list[Problem]]:
    """The drafts that both filters match; a filter that matches none is a problem.

    >>> select(drafts, "sft", "4bit")  # doctest: +SKIP
    ([Draft(name='sft-qlora-4bit', ...)], [])
    """
    chosen: list[Draft] = list(drafts)
    problems: list[Problem] = []
    if not all(draft.real for draft in drafts):
        return chosen, problems
    if stage is not None:
        chosen = _matching(chosen, stage, _stage_readings())
        if not chosen:
            problems.append(_none("stage", stage, [draft.stage for draft in drafts]))
    if method is not None and chosen:
        among, chosen = chosen, _matching(chosen, method, _method_readings())
        if not chosen:
            problems.append(_none("method", method, [draft.method for draft in among]))
    return chosen, problems


# A filter means the first of these that fits any cell.
Reading = Callable[[Draft, str], bool]


def _stage_readings() -> tuple[Reading, ...]:
    return (
        lambda draft, wanted: wanted in (draft.stage, draft.stage_entry.name),
        lambda draft, wanted: _is_part(wanted, draft.stage),
        lambda draft, wanted: wanted == draft.stage_entry.kind,
    )


def _method_readings() -> tuple[Reading, ...]:
    return (
        lambda draft, wanted: wanted in (draft.method, draft.method_entry.name, draft.name),
        lambda draft, wanted: _is_part(wanted, draft.name.removeprefix(draft.stage)),
        lambda draft, wanted: wanted in (draft.method_entry.kind, draft.parts.plain()["method"]["kind"]),
    )


def _matching(drafts: Sequence[Draft], wanted: str, readings: Sequence[Reading]) -> list[Draft]:
    for fits in readings:
        if matching := [draft for draft in drafts if fits(draft, wanted)]:
            return matching
    return []


def _is_part(wanted: str, name: str) -> bool:
    """Whether ``wanted`` is some of the words of a name: ``4bit`` of ``qlora-4bit``."""
    return bool(wanted.strip("-")) and f"-{wanted.strip('-')}-" in f"-{name.strip('-')}-"


def _none(option: str, wanted: str, choices: Sequence[str]) -> Problem:
    known = list(dict.fromkeys(choices))
    near = did_you_mean(wanted, known)
    return Problem(f"--{option} {wanted}", "", f"no cell has it; choose from {', '.join(known)}{near}")
