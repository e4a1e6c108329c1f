"""How trials end that have no result, in words."""

from __future__ import annotations

from reports.text import text

OUTCOMES = {
    "stopped": text("stopped early"),
    "out_of_memory": text("did not fit in memory"),
    "failed": text("failed"),
    "interrupted": text("interrupted"),
}
_IN_CLAUSES = {"interrupted": (text("was interrupted"), text("were interrupted"))}


def outcome(status: str, count: int) -> str:
    """What ``count`` trials did, as the end of a clause: ``failed``, ``were interrupted``."""
    one, several = _IN_CLAUSES.get(status, (OUTCOMES[status], OUTCOMES[status]))
    return one if count == 1 else several
