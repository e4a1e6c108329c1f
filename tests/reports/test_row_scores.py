"""How the scores of test rows are read for a report."""

from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from reports.analysis.comparison import compare
from tests.helpers.run_folders import record, write_run, write_scores
from trainables import results


def test_a_file_of_scores_is_opened_once_for_a_comparison(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = [1.0, 0.0] * 32
    run = write_run(tmp_path / "run", [record(name, name, quality=0.5) for name in ("lora", "full")])
    for name in ("lora", "full"):
        write_scores(run, name, scores)
    content = results.read_run(run)
    opened: Counter[str] = Counter()

    class Counted(pq.ParquetFile):
        def __init__(self, source: Any, *args: Any, **options: Any) -> None:
            opened[str(source)] += 1
            super().__init__(source, *args, **options)

    # `read_schema` opens files by the second name.
    monkeypatch.setattr(pq, "ParquetFile", Counted)
    monkeypatch.setattr("pyarrow.parquet.core.ParquetFile", Counted)
    (group,) = compare([content])
    assert [row.cell.estimate.rows for row in group.rows if row.cell.estimate is not None] == [64, 64]
    assert set(opened.values()) == {1}
    assert len(opened) == 2
