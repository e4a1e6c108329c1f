"""How a trial ended, in words."""

from __future__ import annotations

from trainables.results import Record

WORDS = {"out_of_memory": "out of memory", "stopped": "stopped early"}


def status_words(status: str) -> str:
    """``out of memory`` for ``out_of_memory``, ``stopped early`` for ``stopped``."""
    return WORDS.get(status, status)


def outcome(record: Record) -> str:
    """``done``, ``out of memory``, ``stopped by hand at step 5 of 20``, or ``stopped early at step 5 of 20: behind the
    others``, or another reason, which one that is done early has, too.
    """
    words = "done early" if record.ended_early else status_words(record.status)
    if record.steps is None or not (record.status == "stopped" or record.ended_early):
        return words
    steps = (record.config.get("train") or {}).get("steps")
    if record.stopped_by_hand:
        return f"{record.stop_reason}{f' of {steps}' if steps and record.steps else ''}"
    reason = record.stop_reason or "behind the others"
    return f"{words} at step {record.steps}{f' of {steps}' if steps else ''}: {reason}"
