"""Rows of a user's own: files of JSON lines, as somebody writes them who has no spec yet."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def write_lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    """Writes the rows as JSON lines; returns the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows), encoding="utf-8")
    return path


def questions(count: int = 40) -> list[dict[str, Any]]:
    """Rows with prompts that differ, and one answer."""
    return [{"prompt": f"say {number:02}", "completion": "ab"} for number in range(count)]
