"""What becomes of the thoughts that an answer opens with: ``<think>...</think>``."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal

EMPTY = "<think>\n\n</think>\n\n"  # how Qwen 3 says that it didn't think
_BLOCK = re.compile(r"\s*<think>.*?</think>\s*", re.DOTALL)


def thinking(text: str, how: Literal["keep", "strip", "empty"]) -> str:
    """The answer with its leading thoughts kept, taken out, or emptied (an empty block is added if it has none).

    >>> thinking("<think>\\nTwo and two.\\n</think>\\n\\n4", "strip")
    '4'
    >>> thinking("4", "empty")
    '<think>\\n\\n</think>\\n\\n4'
    """
    if how == "keep":
        return text
    block = _BLOCK.match(text)
    answer = text[block.end() :] if block else text
    return EMPTY + answer if how == "empty" else answer


def matches(answers: Iterable[str], references: Iterable[str]) -> list[float]:
    """1 where an answer is its reference, thoughts aside, else 0: these have no one right wording, and a template may
    open them in the prompt.

    >>> matches(["<think>two</think>4", "5"], ["4", "4"])
    [1.0, 0.0]
    """
    pairs = zip(answers, references, strict=True)
    return [float(spoken(said) == spoken(reference)) for said, reference in pairs]


def spoken(text: str) -> str:
    """What follows the thoughts, stripped. Where the prompt opened them, the text shows only where they end.

    >>> spoken("Two and two.\\n</think>\\n\\n4"), spoken(" 4")
    ('4', '4')
    """
    return text.rpartition("</think>")[2].strip()
