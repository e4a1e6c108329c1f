"""Rows of the stage ``classification``."""

from __future__ import annotations

from trainables.data.rows import Classified


def classified_rows(*labels: str | tuple[str, ...]) -> list[Classified]:
    """A row for each of ``labels``, of growing length; of several labels where they are a tuple."""
    return [
        Classified(
            ({"role": "user", "content": f"Say {'it ' * (number + 1)}"},),
            (label,) if isinstance(label, str) else label,
            several=not isinstance(label, str),
        )
        for number, label in enumerate(labels)
    ]
