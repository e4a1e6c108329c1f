"""What ``--json`` prints."""

from __future__ import annotations

import json
from typing import Any

import typer


def print_json(value: dict[str, Any] | list[Any]) -> None:
    """Prints JSON. What is no UTF-8, as some file's name, becomes its escape, which JSON has, too."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    typer.echo(text.encode("utf-8", "backslashreplace").decode())
