"""Numbers of things and times in sentences."""

from __future__ import annotations

from unicodedata import east_asian_width


def counted(number: int, noun: str) -> str:
    """The number with its noun, in the plural unless it is one.

    >>> counted(1, "row"), counted(2, "row")
    ('1 row', '2 rows')
    """
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def percent(share: float) -> str:
    """A share as whole percent; one that would be rounded to 0 % or to 100 % keeps a decimal.

    >>> percent(0.4), percent(0.996), percent(0.0)
    ('40 %', '99.6 %', '0 %')
    """
    hundredths = 100 * share
    if 0 < hundredths < 1 or 99 < hundredths < 100:
        return f"{min(max(hundredths, 0.1), 99.9):.1f} %"
    return f"{hundredths:.0f} %"


def clock(seconds: float) -> str:
    """Minutes and seconds, or hours and minutes.

    >>> clock(75), clock(7500)
    ('1 min 15 s', '2 h 5 min')
    """
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def padded(text: str, columns: int) -> str:
    """The text with spaces up to a number of columns in a terminal, where a Chinese or Japanese character takes two.

    >>> padded("my.jsonl", 9) + "#", padded("数据.jsonl", 11) + "#"
    ('my.jsonl #', '数据.jsonl #')
    """
    wide = sum(east_asian_width(each) in "WF" for each in text)
    return text.ljust(max(0, columns - wide))
