"""The error for data that can't be used."""

from __future__ import annotations


class DataError(ValueError):
    """Says where the data is wrong, what is wrong, and what to do.

    ``setting``: the path in ``data`` of the setting that is at fault, such as ``("columns", "systm")``; empty if that
    is the data itself.
    """

    def __init__(self, message: str, setting: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.setting = setting
