"""Amounts of memory as people read them."""

from __future__ import annotations

import pytest

from trainables.system.byte_sizes import GIB, gib


@pytest.mark.parametrize(
    ("count", "digits", "text"),
    [
        (0, ".2f", "0.00 GiB"),
        (1.5 * GIB, ".2f", "1.50 GiB"),
        (24 * GIB, ".0f", "24 GiB"),
        (GIB // 8, ".3g", "0.125 GiB"),
    ],
)
def test_bytes_are_printed_in_gib_with_the_digits_asked_for(count: float, digits: str, text: str) -> None:
    assert gib(count, digits) == text
