"""The error for data that can't be used."""

from __future__ import annotations


class DataError(ValueError):
    """Says where the data is wrong, what is wrong, and what to do."""
