"""Values as a form writes them into a spec: YAML in flow style, on one line."""

from __future__ import annotations

import json
from typing import Any

from ruamel.yaml.error import YAMLError

from sweeps.spec.problems import reads_as_number
from sweeps.spec.source import parse_value


def written(value: Any, numbers: bool = False) -> str:
    """A value in flow style. With ``numbers``, texts that read as numbers stay as they were typed: ``1e-4``.

    >>> written({"log": ["1e-5", "1e-3"]}, numbers=True), written("8"), written(["a, b", None])
    ('{log: [1e-5, 1e-3]}', '"8"', '["a, b", null]')
    """
    if isinstance(value, dict):
        return (
            "{"
            + ", ".join(f"{_text(str(key))}: {written(item, numbers)}" for key, item in value.items())
            + "}"
        )
    if isinstance(value, list | tuple):
        return f"[{', '.join(written(item, numbers) for item in value)}]"
    if isinstance(value, str):
        typed = value.strip()
        return typed if numbers and reads_as_number(typed) else _text(value)
    return json.dumps(value)


def _text(text: str) -> str:
    """A text, in quotes where YAML would read it as something else in one place or another."""
    try:
        # Inside a list of a mapping everything that ends a plain text does so.
        plain = parse_value(f"{{x: [{text}]}}") == {"x": [text]} and parse_value(text) == text
    except YAMLError:
        plain = False
    return text if plain and text.isprintable() else json.dumps(text, ensure_ascii=False)
