"""``--stage`` and ``--method``: selects cells of a spec by a name, a part of a name, or a kind."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sweeps.planning.draft import Draft
from sweeps.spec.problems import Problem
from trainables.system.suggestions import did_you_mean

Match = Callable[[Draft, str], bool]

# A filter is tried as an exact name first, then as a part of a name, then as a kind: the first that matches any cell
# decides for all of them.
STAGE_MATCHES: tuple[Match, ...] = (
    lambda draft, wanted: wanted in (draft.stage, draft.stage_entry.name),
    lambda draft, wanted: _is_part(wanted, draft.stage),
    lambda draft, wanted: wanted == draft.stage_entry.kind,
)
METHOD_MATCHES: tuple[Match, ...] = (
    lambda draft, wanted: wanted in (draft.method, draft.method_entry.name, draft.name),
    lambda draft, wanted: _is_part(wanted, draft.name.removeprefix(draft.stage)),
    # Quantization may have turned a lora into a qlora: the kind as written and the final one both match.
    lambda draft, wanted: wanted in (draft.method_entry.kind, draft.parts.plain()["method"]["kind"]),
)


def select_drafts(
    drafts: Sequence[Draft], stage: str | None, method: str | None
) -> tuple[list[Draft], list[Problem]]:
    """The drafts that match both filters; a filter that matches none is a problem.

    >>> select_drafts(drafts, "sft", "4bit")  # doctest: +SKIP
    ([Draft(name='sft-qlora-4bit', ...)], [])
    """
    selected: list[Draft] = list(drafts)
    problems: list[Problem] = []
    # With placeholders nothing could match; the entries are what has to be corrected.
    if any(draft.placeholder for draft in drafts):
        return selected, problems
    if stage is not None:
        selected = _matching(selected, stage, STAGE_MATCHES)
        if not selected:
            problems.append(_no_match("stage", stage, [draft.stage for draft in drafts]))
    if method is not None and selected:
        of_stage, selected = selected, _matching(selected, method, METHOD_MATCHES)
        if not selected:
            problems.append(_no_match("method", method, [draft.method for draft in of_stage]))
    return selected, problems


def _matching(drafts: Sequence[Draft], wanted: str, matches: Sequence[Match]) -> list[Draft]:
    for is_match in matches:
        if matching := [draft for draft in drafts if is_match(draft, wanted)]:
            return matching
    return []


def _is_part(wanted: str, name: str) -> bool:
    """Whether ``wanted`` is one or more of a name's parts between dashes: ``4bit`` of ``qlora-4bit``."""
    return bool(wanted.strip("-")) and f"-{wanted.strip('-')}-" in f"-{name.strip('-')}-"


def _no_match(option: str, wanted: str, names: Sequence[str]) -> Problem:
    choices = list(dict.fromkeys(names))
    near = did_you_mean(wanted, choices)
    return Problem(f"--{option} {wanted}", "", f"no cell matches; choose from {', '.join(choices)}{near}")
