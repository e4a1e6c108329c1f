"""Claims in words: what was claimed, what came out, by how much, and what would settle it."""

from __future__ import annotations

from collections.abc import Sequence

from reports import units
from reports.claims.finding import Finding
from reports.claims.judgement import Figure, Interval
from reports.text import joined, text

NOTE = (
    "Claims were stated before the run unless it says so, and are corrected together (Holm). Intervals are of 95 %, "
    "each by itself."
)


def claim_sentences(findings: Sequence[Finding]) -> list[str]:
    """A sentence for each finding: ``Supported: lora is at most 2.0 points worse than full (lora minus full: ...;
    p = 0.01).`` Where they are of several runs or groups, each names its own.
    """
    places = [
        (finding.runs, finding.group.title if finding.group is not None else None) for finding in findings
    ]
    known = [place for place in places if place[1] is not None]
    runs, titles = ({place[part] for place in known} for part in (0, 1))
    return [
        _sentence(finding, _place(own if len(runs) > 1 else (), title if len(titles) > 1 else None))
        for finding, (own, title) in zip(findings, places, strict=True)
    ]


def _place(runs: Sequence[str], title: str | None) -> str:
    of_runs = text("in {runs}", runs=units.join(list(runs))) if runs else None
    return joined(", ", filter(None, [of_runs, title]))


def _sentence(finding: Finding, place: str) -> str:
    parts = [*map(figure_text, finding.figures)]
    if finding.p is not None:
        parts.append(f"p {'<' if finding.p_is_bound else '='} {_p(finding.p)}")
    if finding.added:
        parts.append(text("added after the run had begun"))
    if finding.source is not None:
        parts.append(text("published by {source}", source=finding.source))
    details = text(" ({details})", details=joined("; ", parts)) if parts else ""
    why = finding.reason or finding.settled_by_text
    return text(
        "{outcome}: {where}{statement}{details}{why}.",
        outcome=_OUTCOMES[finding.outcome],
        where=text("{place}: ", place=place) if place else "",
        statement=finding.statement,
        details=details,
        why=text(": {reason}", reason=why) if why else "",
    )


_OUTCOMES = {
    "supported": text("Supported"),
    "contradicted": text("Contradicted"),
    "not settled": text("Not settled"),
}


def _p(value: float) -> str:
    return units.number(value, 1 if value < 1e-4 else 2)


def figure_text(figure: Figure) -> str:
    """``lora minus full: -1.6 points, 95 %: -4.5 to 1.5``."""
    # Measured peaks have no error of 95 %, but a range within which they repeat.
    return text(
        "{figure}: {value}, within what peaks repeat: {ends}"
        if figure.kind == "share"
        else "{figure}: {value}, 95 %: {ends}",
        figure=figure.name,
        value=_value(figure, figure.value),
        ends=_ends(figure, figure.interval),
    )


def _ends(figure: Figure, interval: Interval) -> str:
    low, high = (_value(figure, end, bare=True) if end is not None else None for end in interval)
    if low is None and high is None:
        return text("unbounded")
    if low is None:
        return text("up to {high}", high=high)
    return text("{low} or more", low=low) if high is None else joined(" to ", [low or "", high])


def _value(figure: Figure, value: float, bare: bool = False) -> str:
    if figure.kind == "difference":
        return units.difference(value, figure.unit, bare=bare)
    if figure.kind == "share":
        return units.percent(value).removesuffix(" %") if bare else units.percent(value)
    return units.number(value)
