"""The claims that a proposed spec offers, as comments: what its methods are usually compared for."""

from __future__ import annotations

from collections.abc import Sequence

from sweeps.drafting.spec_text import Section, Setting

MARGIN, SHARE = 0.02, 0.5
FULL = "full"
SMALLER = ("lora", "qlora", "freeze")  # what may be as good as full training for less memory, the usual first


def claim_remarks(methods: Sequence[Sequence[Setting | Section]]) -> list[str]:
    """Two claims about the proposed methods, to be uncommented; none about a single one.

    ``methods``: their entries, each with its kind.
    """
    kinds = [
        str(line.value)
        for entry in methods
        for line in entry
        if isinstance(line, Setting) and line.key == "kind"
    ]
    pair = _pair([kind for kind in kinds if kinds.count(kind) == 1])
    if pair is None:
        return []
    smaller, larger = (_cell_name(kind, methods) for kind in pair)
    cells = f"a: {smaller}, b: {larger}, margin: {MARGIN}"
    return [
        "claims: what you want to know, which the report answers first; margins are in the unit of the quality, and",
        "stating them before the run is what makes the answer count. Two that fit:",
        "claims:",
        f"  - {{kind: within, {cells}}}",
        f"  - {{kind: least_memory, {cells}, share: {SHARE}}}",
    ]


def _pair(kinds: Sequence[str]) -> tuple[str, str] | None:
    """The method that may be as good for less memory, and the one that it is compared with."""
    smaller = [kind for kind in SMALLER if kind in kinds]
    if FULL in kinds and smaller:
        return smaller[0], FULL
    return ("qlora", "lora") if {"qlora", "lora"} <= {*kinds} else None


def _cell_name(kind: str, methods: Sequence[Sequence[Setting | Section]]) -> str:
    """The name of the method's cell in the report: its own, or with the bits of its base."""
    for entry in methods:
        values = {line.key: line.value for line in entry if isinstance(line, Setting) and line.active}
        if values.get("kind") == kind:
            bits = f"-{values['bits']}bit" if kind == "qlora" and "bits" in values else ""
            return str(values.get("name") or f"{kind}{bits}")
    return kind
