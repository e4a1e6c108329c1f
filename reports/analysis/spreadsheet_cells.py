"""Cells of tables that people open in spreadsheets, which run texts that look like formulas."""

from __future__ import annotations

from typing import Any

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def plain(value: Any) -> Any:
    """The value; a text that a spreadsheet would run as a formula begins with a quote, which it takes for "a text".

    Names of cells, models and data may be somebody else's (CWE-1236, improper neutralization of formula elements).
    Carriage returns become line feeds, because Python's ``csv`` puts none in quotes and readers end a row there.

    >>> plain("=1+1"), plain("lora"), plain(-0.5)
    ("'=1+1", 'lora', -0.5)
    """
    if not isinstance(value, str):
        return value
    quote = "'" if value.startswith(FORMULA_STARTS) else ""
    return f"{quote}{value}".replace("\r", "\n")
