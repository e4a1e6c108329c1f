"""Reads the claims of a spec."""

from __future__ import annotations

from typing import Any

from sweeps.spec.claims import Claim
from sweeps.spec.claims.base import BaseClaim
from sweeps.spec.messages.validation_messages import config_classes
from sweeps.spec.problems import Problem, format_value, refusal
from sweeps.spec.schema import validate_node
from sweeps.spec.source import Source
from sweeps.spec.tree import Branch, build_node
from trainables.system.suggestions import did_you_mean

PART = "claims"
KINDS: dict[str, Any] = config_classes(Claim)
EXAMPLE = "claims: [{kind: within, a: lora, b: full, margin: 0.02}]"
MOST = 100  # claims of one spec, which are corrected together


def read_claims(source: Source) -> tuple[dict[int, BaseClaim], list[Problem]]:
    """The valid claims of a spec by their places in its list, and the problems with the others."""
    entries = source.tree.get(PART)
    if entries is None:
        return {}, []
    if not isinstance(entries, list):
        what = refusal(f"got {format_value(entries)}", "a list of claims", f". Write {EXAMPLE}")
        return {}, [source.problem((PART,), what)]
    if len(entries) > MOST:
        return {}, [source.problem((PART,), f"{len(entries)} claims; a spec has at most {MOST}")]
    claims: dict[int, BaseClaim] = {}
    problems: list[Problem] = []
    for index, entry in enumerate(entries):
        claim, wrong = _read(source, index, entry)
        same = next(
            (place for place, other in claims.items() if claim and other.statement == claim.statement), None
        )
        if same is not None:
            wrong = [source.problem((PART, index), f"the same as {PART}[{same}]. Remove one")]
        elif claim is not None:
            claims[index] = claim
        problems += wrong
    return claims, problems


def _read(source: Source, index: int, entry: Any) -> tuple[BaseClaim | None, list[Problem]]:
    node = build_node(entry, (PART, index))
    if not isinstance(node, Branch):
        what = refusal(f"got {format_value(entry)}", "a mapping", f". Write {EXAMPLE}")
        return None, [source.problem((PART, index), what)]
    kind = node.plain().get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        got = "kind is not given" if kind is None else f"got {format_value(kind)}"
        path = (PART, index) if kind is None else (PART, index, "kind")
        advice = did_you_mean(kind, KINDS) if isinstance(kind, str) else ""
        return None, [source.problem(path, refusal(got, f"one of {', '.join(KINDS)}", advice))]
    claim, wrong = validate_node(source, KINDS[kind], node)
    return claim, wrong
