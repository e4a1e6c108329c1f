"""Numbers of JSON that keep the digits that they were written with, so that 1.10 does not become 1.1 in a text."""

from __future__ import annotations

import json
import re
from typing import Any

# Characters for private use: in place of a number while the value becomes JSON.
_MARKED = re.compile('"\ue000(\\d+)\ue001"')


class WrittenFloat(float):
    """A fraction, with the ``digits`` that it was written with where Python writes it otherwise.

    >>> WrittenFloat("1.10").digits, WrittenFloat("1.10") == 1.1
    ('1.10', True)
    """

    digits: str

    def __new__(cls, digits: str) -> WrittenFloat:
        number = super().__new__(cls, digits)
        number.digits = digits
        return number

    def __reduce__(self) -> tuple[type[WrittenFloat], tuple[str]]:
        return WrittenFloat, (self.digits,)


def to_json(value: Any) -> str:
    """The value as JSON, with its numbers as they were written. Raises ``TypeError`` and ``ValueError`` as ``json``.

    >>> to_json({"price": WrittenFloat("1.10")})
    '{"price": 1.10}'
    """
    plain = json.dumps(value, ensure_ascii=False, allow_nan=False)
    if "\ue000" in plain:
        return plain
    digits: list[str] = []
    text = json.dumps(_marked(value, digits), ensure_ascii=False, allow_nan=False)
    return _MARKED.sub(lambda match: digits[int(match[1])], text) if digits else text


def _marked(value: Any, digits: list[str]) -> Any:
    if isinstance(value, WrittenFloat):
        digits.append(value.digits)
        return f"\ue000{len(digits) - 1}\ue001"
    if isinstance(value, list):
        return [_marked(item, digits) for item in value]
    if isinstance(value, dict):
        return {key: _marked(item, digits) for key, item in value.items()}
    return value
