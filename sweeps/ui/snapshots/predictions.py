"""A process of its own: prints the answers of trials to held-out prompts as JSON: of one trial its first rows, of
several row by row.

python -m sweeps.ui.snapshots.predictions TRIAL_FOLDER ...
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sweeps.ui.snapshots.memory_limit import limit_memory
from trainables.storage.damaged_files import DamagedFile, reading
from trainables.storage.regular_files import require_own
from trainables.system.shown_text import shown

FILE = "predictions.parquet"
COLUMNS = ("row", "prompt", "reference", "prediction", "score")
TEXT_CHARACTERS = 4000
ROWS = 20
COMPARED_ROWS = 60
MAX_FILE_ROWS = 20_000  # of which a page compares answers


def sample_answers(trial: Path, limit: int = ROWS) -> list[dict[str, Any]]:
    """The first rows, as texts. Raises ``DamagedFile``."""
    return [_row(row) for row in _rows(trial, limit)]


def side_by_side(trials: Sequence[Path], limit: int = COMPARED_ROWS) -> dict[str, Any]:
    """The rows that all trials have: ``rows``, those on which the trials differ first, of ``common`` rows of which
    ``different`` differ. Raises ``DamagedFile``.
    """
    tables = [{(row["row"], row["prompt"]): row for row in _rows(trial, MAX_FILE_ROWS)} for trial in trials]
    if not tables or not all(tables):
        return {"rows": [], "common": 0, "different": 0}
    common = [key for key in tables[0] if all(key in table for table in tables[1:])]
    different = [key for key in common if _differ([table[key] for table in tables])]
    known = set(different)
    shown_keys = [*different, *(key for key in common if key not in known)][:limit]
    rows = [_compared([table[key] for table in tables], key in known) for key in shown_keys]
    return {"rows": rows, "common": len(common), "different": len(different)}


def _rows(trial: Path, limit: int) -> list[dict[str, Any]]:
    import pyarrow.parquet as pq

    path = require_own(trial / FILE)  # through a link in somebody else's run, other files would be read
    if not path.is_file():
        return []
    with reading(path), pq.ParquetFile(path) as file:
        columns = [name for name in COLUMNS if name in file.schema_arrow.names]
        found: list[dict[str, Any]] = []
        for batch in file.iter_batches(batch_size=min(limit, 1024), columns=columns, use_threads=False):
            found += batch.to_pylist()
            if len(found) >= limit:
                break
        return [dict.fromkeys(COLUMNS) | row for row in found[:limit]]


def _differ(rows: Sequence[dict[str, Any]]) -> bool:
    return any(
        (row["prediction"], row["score"]) != (rows[0]["prediction"], rows[0]["score"]) for row in rows[1:]
    )


def _row(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "row": row["row"] if isinstance(row["row"], int) else _text(row["row"]),
        "prompt": _prompt(row["prompt"]),
        "reference": _text(row["reference"]),
        "prediction": _text(row["prediction"]),
        "score": _number(row["score"]),
    }


def _compared(rows: Sequence[dict[str, Any]], differs: bool) -> dict[str, Any]:
    first = _row(rows[0])
    answers = [{"prediction": _text(row["prediction"]), "score": _number(row["score"])} for row in rows]
    return {
        **{name: first[name] for name in ("row", "prompt", "reference")},
        "answers": answers,
        "differs": differs,
    }


def _prompt(prompt: Any) -> str:
    """The messages of a prompt as one text: those of one role alone without it."""
    try:
        messages = json.loads(prompt or "[]")
        texts = [(str(each["role"]), str(each["content"])) for each in messages]
    except (ValueError, TypeError, KeyError, RecursionError):
        return _text(prompt) or ""
    if len(texts) == 1:
        return _text(texts[0][1]) or ""
    return _text("\n".join(f"[{role}] {content}" for role, content in texts)) or ""


def _text(value: Any) -> str | None:
    if value is None:
        return None
    text = shown(str(value))
    return text if len(text) <= TEXT_CHARACTERS else f"{text[:TEXT_CHARACTERS]}…"


def _number(value: Any) -> float | None:
    return value if isinstance(value, int | float) and abs(value) < float("inf") else None


def main(trials: Sequence[Path]) -> Any:
    return side_by_side(trials) if len(trials) > 1 else {"rows": sample_answers(trials[0])}


if __name__ == "__main__":
    limit_memory()
    try:
        print(json.dumps(main([Path(trial) for trial in sys.argv[1:]]), allow_nan=False))
    except DamagedFile as error:
        sys.exit(str(error))
    except MemoryError:
        sys.exit("the answers take more memory than they may")
