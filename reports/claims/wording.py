"""Claims in words: what was claimed, what came out, by how much, and what would settle it."""

from __future__ import annotations

from collections.abc import Sequence

from reports import units
from reports.claims.finding import Finding
from reports.claims.judgement import Figure, Interval

NOTE = (
    "Claims were stated before the run unless it says so, and are corrected together (Holm). Intervals are of 95 %, "
    "each by itself."
)


def claim_sentence(finding: Finding) -> str:
    """``Supported: lora is at most 2.0 points worse than full (lora minus full: ...; p = 0.01).``"""
    parts = [*map(_figure, finding.figures), *([f"p = {finding.p:.2g}"] if finding.p is not None else [])]
    if finding.added:
        parts.append("added after the run had begun")
    details = f" ({'; '.join(parts)})" if parts else ""
    why = finding.reason or finding.settled_by_text
    return f"{finding.outcome.capitalize()}: {finding.statement}{details}{f': {why}' if why else ''}."


def claim_sentences(findings: Sequence[Finding]) -> list[str]:
    """A sentence for each finding."""
    return [claim_sentence(finding) for finding in findings]


def _figure(figure: Figure) -> str:
    # Measured peaks have no error of 95 %, but a range within which they repeat.
    level = "measured" if figure.kind == "share" else "95 %:"
    return f"{figure.name}: {_value(figure, figure.value)}, {level} {_ends(figure, figure.interval)}"


def _ends(figure: Figure, interval: Interval) -> str:
    low, high = (_value(figure, end, bare=True) if end is not None else None for end in interval)
    if low is None and high is None:
        return "unbounded"
    if low is None:
        return f"up to {high}"
    return f"{low} or more" if high is None else f"{low} to {high}"


def _value(figure: Figure, value: float, bare: bool = False) -> str:
    if figure.kind == "difference":
        return units.difference(value, figure.unit, bare=bare)
    if figure.kind == "share":
        return units.percent(value).removesuffix(" %") if bare else units.percent(value)
    return units.number(value)
