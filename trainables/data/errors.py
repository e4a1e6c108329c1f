"""What can be wrong with data."""

from __future__ import annotations


class DataError(ValueError):
    """What is wrong with the data, where, and what to do; a full sentence."""
