"""How often each label of a classifier's rows occurs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from trainables.data.arrow_rows import Rows
from trainables.system.recent import Recent
from trainables.system.wording import counted

SHOWN = 10  # labels
_counted = Recent[str, Counter[str]](size=32)  # by the rows' identity
_lists = Recent[str, bool](size=32)


def count_labels(rows: Sequence[Any]) -> Counter[str]:
    """The number of rows with each label; ``rows`` are ``data.rows.Classified``."""

    def count() -> Counter[str]:
        return Counter(label for row in rows for label in row.labels)

    # Reading a million rows takes seconds, and each cell of a plan asks.
    return _counted.get(rows.identity, count) if isinstance(rows, Rows) else count()


def have_several(rows: Sequence[Any]) -> bool:
    """Whether any row's label is a list, so that several may apply."""

    def look() -> bool:
        return any(row.several for row in rows)

    return _lists.get(rows.identity, look) if isinstance(rows, Rows) else look()


def label_counts(rows: Sequence[Any]) -> str:
    """The labels with their shares of the rows, the most frequent first, in a sentence that tells how unequal they are.

    >>> from trainables.data.rows import Classified
    >>> label_counts([Classified((), (label,)) for label in ("a", "a", "a", "b")])
    '2 labels: a 3 (75%), b 1 (25%); the most frequent has 3.0 times the rows of the rarest'
    """
    counts = count_labels(rows).most_common()
    if not counts:
        return "no row has a label"
    shown = ", ".join(f"{label} {count} ({count / len(rows):.0%})" for label, count in counts[:SHOWN])
    more = f", and {len(counts) - SHOWN} more" if len(counts) > SHOWN else ""
    ratio = counts[0][1] / counts[-1][1]
    unequal = f"; the most frequent has {ratio:.1f} times the rows of the rarest" if len(counts) > 1 else ""
    several = "; a row may have several" if have_several(rows) else ""
    return f"{counted(len(counts), 'label')}: {shown}{more}{unequal}{several}"
