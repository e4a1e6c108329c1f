"""A process of its own: prints what tests say of every two trials, row by row, as JSON.

python -m sweeps.ui.snapshots.paired_tests TRIAL_FOLDER TRIAL_FOLDER ...
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from sweeps.ui.snapshots.memory_limit import limit_memory

LEVEL = 0.05  # of significance


def paired_tests(trials: Sequence[Path]) -> list[dict[str, Any]]:
    """For every two trials (``one`` and ``other`` by position): the ``difference`` of their qualities with its 95 %
    interval, the p-value of the test ``basis`` (in other languages: ``translations``) corrected for the number of pairs
    (Holm), and whether it is ``settled``; the ``reason`` where they can't be compared.
    """
    from reports.statistics.comparisons import MIN_CLUSTERS, holm

    pairs = [_compared(trials, one, other) for one, other in combinations(range(len(trials)), 2)]
    tested = [pair for pair in pairs if pair["reason"] is None]
    for pair, p in zip(tested, holm([pair["p"] for pair in tested]), strict=True):
        pair["p"] = p
        pair["settled"] = p < LEVEL and pair["rows"] >= MIN_CLUSTERS
    return pairs


def _compared(trials: Sequence[Path], one: int, other: int) -> dict[str, Any]:
    from reports.analysis import row_scores
    from reports.statistics.comparisons import compare_estimates
    from reports.text import LANGUAGES, translated
    from trainables import results
    from trainables.results import CURVES, Run

    pair: dict[str, Any] = {"one": one, "other": other, "reason": None}
    records = [results.read_record(trials[place]) for place in (one, other)]
    estimates = [
        row_scores.estimate(Run(trial.parent.parent, [], CURVES.empty_table(), None, {}), [record])
        if record is not None
        else None
        for trial, record in zip((trials[one], trials[other]), records, strict=True)
    ]
    first, second = records
    if first is None or second is None or first.quality_name != second.quality_name:
        return pair | {"reason": "measures"}
    if estimates[0] is None or estimates[1] is None:
        return pair | {"reason": "scores"}
    found = compare_estimates(estimates[0], estimates[1], None)
    low, high = (end if math.isfinite(end) else None for end in found.interval)
    return pair | {
        "difference": found.difference,
        "low": low,
        "high": high,
        "p": found.p,
        "rows": min(estimates[0].clusters, estimates[1].clusters),
        "basis": found.basis,
        "translations": {language: translated(found.basis, language) for language in LANGUAGES},
        "name": first.quality_name,
        "unit": first.quality_unit,
        "higher_is_better": first.quality_higher_is_better,
    }


if __name__ == "__main__":
    limit_memory()
    print(json.dumps(paired_tests([Path(trial) for trial in sys.argv[1:]])))
