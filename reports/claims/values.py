"""Findings as plain values, for ``report.json`` and ``claims.csv``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from reports.claims.finding import Finding
from reports.claims.judgement import Figure
from reports.claims.wording import claim_sentences
from trainables.results import ADDED, CLAIM_SOURCE, STATED_AT


def claims_json(findings: Sequence[Finding]) -> list[dict[str, Any]]:
    """One dict for each claim; ends of intervals that are not bounded are ``None``."""
    return [
        {
            **_shared(finding),
            "sentence": sentence,
            "figures": [_figure(figure) for figure in finding.figures],
            "settled_by": [
                {"seeds": need.seeds, "rows": need.rows, "seconds": need.seconds}
                for need in finding.settled_by
            ],
            "settled_by_text": finding.settled_by_text,
            "values": dict(finding.values),
        }
        for finding, sentence in zip(findings, claim_sentences(findings), strict=True)
    ]


def claim_rows(findings: Sequence[Finding]) -> list[dict[str, Any]]:
    """One dict for each claim, of values without parts: of its first two figures, and of the first way to settle it by
    seeds and by rows.
    """
    return [_row(finding) for finding in findings]


def _row(finding: Finding) -> dict[str, Any]:
    seeds = next((need for need in finding.settled_by if need.seeds is not None), None)
    rows = next((need for need in finding.settled_by if need.rows is not None), None)
    columns: dict[str, Any] = _shared(finding)
    for prefix, place in (("", 0), ("second_", 1)):
        figure = finding.figures[place] if place < len(finding.figures) else None
        values = _figure(figure) if figure is not None else dict.fromkeys(_FIGURE)
        columns |= {f"{prefix}{name}": values[name] for name in _FIGURE}
    return columns | {
        "settled_by_seeds": seeds.seeds if seeds is not None else None,
        "settled_by_seeds_seconds": seeds.seconds if seeds is not None else None,
        "settled_by_rows": rows.rows if rows is not None else None,
        "settled_by_rows_seconds": rows.seconds if rows is not None else None,
        "settled_by_text": finding.settled_by_text,
    }


_FIGURE = ("figure", "estimate", "low", "high", "unit")


def _shared(finding: Finding) -> dict[str, Any]:
    group = finding.group
    return {
        "run": ", ".join(finding.runs) or None,
        "stage": group.stage if group is not None else None,
        "model": group.model if group is not None else None,
        "data": group.data if group is not None else None,
        "claim": finding.statement,
        "kind": finding.kind,
        "outcome": finding.outcome,
        "p_holm": finding.p,
        "reason": finding.reason,
        STATED_AT: finding.stated_at,
        ADDED: finding.added,
        CLAIM_SOURCE: finding.source,
    }


def _figure(figure: Figure) -> dict[str, Any]:
    low, high = figure.interval
    return {"figure": figure.name, "estimate": figure.value, "low": low, "high": high, "unit": figure.unit}
