"""What the places of a sweep did all the time: the share of it in training steps, in scoring, in setting up."""

from __future__ import annotations

from collections.abc import Iterable

from trainables.results import Record
from trainables.system.wording import clock, percent

PARTS = {"train_seconds": "training steps", "eval_seconds": "scoring", "setup_seconds": "setting up"}


def time_shares(records: Iterable[Record], seconds: float, at_once: int) -> str | None:
    """A sentence on ``seconds`` by the clock with ``at_once`` trials at a time; ``None`` where no trial has trained.

    ``records``: those of the trials that ended in this time. What is left over is measuring memory, saving, starting
    Ray and its workers, waiting for one another, and the report.
    """
    records = list(records)
    spent = {what: sum(getattr(r, field) or 0.0 for r in records) for field, what in PARTS.items()}
    total = at_once * seconds
    if not spent[PARTS["train_seconds"]] or total <= 0:
        return None
    shares = [f"{percent(amount / total)} in {what}" for what, amount in spent.items()]
    rest = max(0.0, 1 - sum(spent.values()) / total)
    at_a_time = f"{at_once} trials at a time" if at_once > 1 else "one trial at a time"
    return f"of {clock(seconds)} with {at_a_time}: {', '.join(shares)}, {percent(rest)} in all else"
