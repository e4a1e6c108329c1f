"""The frequent reasons for which trials fail or are stopped, by their English sentences in records."""

from __future__ import annotations

from typing import Any

from sweeps.ui.message_kinds import kind_of, kinds

# Key in `words/LANGUAGE/failures.json` without the area -> how such a sentence begins.
KINDS = kinds(
    (
        ("not_finite", r"NotFinite: .+? is (?P<value>\S+)(?: on average up to| at) step (?P<step>\d+)"),
        ("no_memory", r"(?:measuring memory: )?(?:OutOfMemoryError|MemoryError|CUDA out of memory)"),
        ("killed", r"its worker was killed because the node's memory had run out"),
        ("worker_died", r"its worker died (?P<count>\d+) times"),
        ("nothing_to_start_from", r"it continues from the best trial of (?P<cell>.+?), and no trial"),
        ("inputs", r"its inputs could not be fetched"),
        ("measuring", r"measuring memory: "),
        ("disk_full", r"OSError: \[Errno 28\]"),
        ("by_hand_before", r"stopped by hand before it began"),
        ("by_hand", r"stopped by hand at step (?P<step>\d+)"),
        (
            "diverged",
            r"its training loss was above that of its start for (?P<reports>\d+) reports in a row: "
            r"(?P<loss>\S+) at step (?P<step>\d+), (?P<start>\S+) at the start",
        ),
        (
            "overfitted",
            r"it overfits: its validation objective fell (?P<count>\d+) times in a row, from "
            r"(?P<high>\S+) at step (?P<first>\d+) to (?P<low>\S+) at step (?P<last>\d+)",
        ),
        (
            "no_better",
            r"no better validation for (?P<count>\d+) validations in a row \(train\.early_stopping\), "
            r"the best was at step (?P<step>\d+)",
        ),
        (
            "no_better_by",
            r"no validation better by more than (?P<least>\S+) for (?P<count>\d+) validations in a "
            r"row \(train\.early_stopping\), the best was at step (?P<step>\d+)",
        ),
        (
            "last_no_better",
            r"the last validation was no better \(train\.early_stopping\), the best was at step "
            r"(?P<step>\d+)",
        ),
        (
            "last_no_better_by",
            r"the last validation was not better by more than (?P<least>\S+) "
            r"\(train\.early_stopping\), the best was at step (?P<step>\d+)",
        ),
    )
)


def failure_kind(sentence: str | None) -> dict[str, Any] | None:
    """The key of a sentence's words, and the values in it.

    >>> failure_kind("NotFinite: the training loss is nan on average up to step 40")
    {'key': 'failures.not_finite', 'values': {'value': 'nan', 'step': '40'}}
    """
    found = kind_of(sentence or "", KINDS)
    return {"key": f"failures.{found[0]}", "values": found[1]} if found is not None else None
