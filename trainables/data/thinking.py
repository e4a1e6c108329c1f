"""Thoughts that an answer opens with, ``<think>...</think>``: kept, removed or emptied, and ignored in comparisons."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal

EMPTY = "<think>\n\n</think>\n\n"  # Qwen 3's answer without thinking opens with this
_BLOCK = re.compile(r"\s*<think>.*?</think>\s*", re.DOTALL)
# All blocks that an answer opens with. The first may have been opened by the prompt: its end has a line to itself.
_BLOCKS = re.compile(
    r"\s*(?:(?:(?!<think>).)*?^[ \t]*</think>[ \t]*(?:\n\s*|\Z))?(?:<think>.*?</think>\s*)*",
    re.DOTALL | re.MULTILINE,
)
_LIKE_THOUGHTS = re.compile(
    r"</?(?:think|thinking|thought|thoughts|reasoning|seed:think)>|\[/?THINK\]|<\|(?:begin|end)_of_thought\|>"
    r"|<\|channel\|>analysis|<\|START_THINKING\|>|◁/?think▷",
    re.IGNORECASE,
)
# The tags around thoughts, by families; what a prompt may end with.
TAGS = {
    "<think>": "</think>",
    "<thinking>": "</thinking>",
    "<seed:think>": "</seed:think>",
    "[THINK]": "[/THINK]",
    "◁think▷": "◁/think▷",
    "<|START_THINKING|>": "<|END_THINKING|>",
}
_OPENED = re.compile(
    rf"({'|'.join(map(re.escape, TAGS))})(\s*)((?:{'|'.join(map(re.escape, TAGS.values()))})\s*)?$"
)


def opened_thought(prompt: str) -> re.Match[str] | None:
    """The tag that opens a thought at the end of a prompt, the white space behind it, and the tag that ends it or
    ``None``, as the groups 1 to 3; ``None`` for other prompts.

    >>> opened_thought("2 + 2?<think>\\n").groups()
    ('<think>', '\\n', None)
    """
    return _OPENED.search(prompt)


def edit_thinking(text: str, mode: Literal["keep", "strip", "empty"]) -> str:
    """The answer with its leading thoughts kept, removed, or emptied (an empty block is added if it has none).

    >>> edit_thinking("<think>\\nTwo and two.\\n</think>\\n\\n4", "strip")
    '4'
    >>> edit_thinking("4", "empty")
    '<think>\\n\\n</think>\\n\\n4'
    """
    if mode == "keep":
        return text
    blocks = _BLOCKS.match(text) if "</think>" in text else None
    # Without a block, white space at the beginning is the answer's own.
    answer = text[blocks.end() :] if blocks and "</think>" in blocks[0] else text
    return EMPTY + answer if mode == "empty" else answer


def looks_like_thoughts(answer: str) -> bool:
    """Whether an answer without its leading thoughts has tags of thoughts, of any family.

    >>> looks_like_thoughts("<think>Two and"), looks_like_thoughts("I think 4.")
    (True, False)
    """
    return _LIKE_THOUGHTS.search(answer) is not None


def answer_matches(answers: Iterable[str], references: Iterable[str]) -> list[float]:
    """1 where an answer equals its reference, else 0.

    Thoughts are ignored: they have no one right wording, and a template may open them in the prompt.

    >>> answer_matches(["<think>two</think>4", "5"], ["4", "4"])
    [1.0, 0.0]
    """
    pairs = zip(answers, references, strict=True)
    return [float(without_thinking(answer) == without_thinking(reference)) for answer, reference in pairs]


def without_thinking(text: str) -> str:
    """The text after the thoughts, stripped. If the prompt opened them, the text holds only their end.

    >>> without_thinking("Two and two.\\n</think>\\n\\n4"), without_thinking(" 4")
    ('4', '4')
    """
    return text.rpartition("</think>")[2].strip()


def with_common_tags(text: str, template: str) -> str:
    """An answer whose thoughts are in the tags of a family, with ``<think>``, if the chat template has these tags.

    >>> with_common_tags("[THINK]Two and two.[/THINK]4", "[THINK]{{ reasoning_content }}")
    '<think>\\nTwo and two.\\n</think>\\n\\n4'
    """
    for tag, end in TAGS.items():
        begun = text.lstrip().removeprefix(tag)
        if tag != "<think>" and tag in template and begun != text.lstrip() and end in begun:
            thoughts, _, answer = begun.partition(end)
            return with_thoughts(thoughts, answer.lstrip())
    return text


def thoughts_of(text: str) -> str:
    """The thoughts that an answer opens with, stripped and without their tags; empty if it has none.

    >>> thoughts_of("<think>\\nTwo and two.\\n</think>\\n\\n4"), thoughts_of("4")
    ('Two and two.', '')
    """
    block = _BLOCK.match(text)
    return block[0].strip().removeprefix("<think>").removesuffix("</think>").strip() if block else ""


def with_thoughts(thoughts: str, answer: str) -> str:
    """The answer opened by thoughts.

    >>> with_thoughts("Two and two.", "4")
    '<think>\\nTwo and two.\\n</think>\\n\\n4'
    """
    block = f"<think>\n{thoughts.strip()}\n</think>"
    return f"{block}\n\n{answer}" if answer else block


def split_thoughts(text: str) -> tuple[str, str]:
    """The thoughts that an answer opens with, as in :func:`thoughts_of`, and the answer after them.

    >>> split_thoughts("<think>\\nTwo and two.\\n</think>\\n\\n4"), split_thoughts(" 4")
    (('Two and two.', '4'), ('', ' 4'))
    """
    block = _BLOCK.match(text)
    return (thoughts_of(text), text[block.end() :]) if block else ("", text)
